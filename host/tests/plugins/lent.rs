//! What the host lends, seen from a plugin that is linked into this binary: the path is that of plugin files.

use crate::stand_in::{Stage, soon};
use natsd::config::options::PluginsOptions;
use natsd_plugin_api::bytes::Bytes;
use natsd_plugin_api::files::OpenOptions;
use natsd_plugin_api::{
    BoxFuture, CloseReason, Delivery, DialOptions, Error, ErrorKind, Host, ListenOptions, Manifest, Outcome,
    Plugin, PublishRef, Registrar, Result, Section, Service, SubscribeOptions, Subscription, boxed,
    export_plugin,
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Keeps what it was lent, for the tests to use.
struct Borrower {
    host: Host,
    register: Mutex<Option<Registrar>>,
}

static BORROWED: Mutex<Vec<Arc<Borrower>>> = Mutex::new(Vec::new());

impl Plugin for Borrower {
    fn manifest() -> Manifest {
        Manifest { config_keys: vec!["borrower".into(), "accounts.*.loan".into()], ..Manifest::default() }
    }

    fn create(host: Host, section: &Section) -> Result<Self> {
        if section.key("borrower") == Some(&json!("wrong")) {
            return Err(Error::config("borrower", "must not be wrong"));
        }
        Ok(Self { host, register: Mutex::default() })
    }

    async fn start(self: Arc<Self>, register: Registrar) -> Result<()> {
        *self.register.lock().unwrap() = Some(register);
        BORROWED.lock().unwrap().push(self);
        Ok(())
    }
}

export_plugin!(Borrower, "borrower");

/// Runs a test with a stage and the plugin's host. One at a time, as instances find their test through a static.
fn lent<F: Future<Output = ()>>(test: impl FnOnce(Arc<Borrower>, Arc<crate::stand_in::StandIn>) -> F) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let options = PluginsOptions { load: Some(vec!["borrower".into()]), ..PluginsOptions::default() };
    let stage = Stage::start(&options);
    let borrower = BORROWED.lock().unwrap().pop().expect("it has started");
    stage.runtime.block_on(test(borrower, stage.server.clone()));
    stage.runtime.block_on(stage.plugins.stop());
}

#[test]
fn time_passes_and_limits_hold() {
    lent(|borrower, _| async move {
        let host = &borrower.host;
        let before = host.monotonic_ns();
        host.sleep(Duration::from_millis(20)).await;
        assert!(host.monotonic_ns() - before >= 20_000_000);
        assert!(host.unix_ns() > 1_700_000_000_000_000_000);
        let late = host.timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(host.timeout(Duration::from_secs(9), async { 5 }).await, Ok(5));
        assert_ne!(host.random_u64(), host.random_u64());
    });
}

#[test]
fn tasks_answer_panic_and_end_by_abort_or_stop() {
    lent(|borrower, _| async move {
        let host = borrower.host.clone();
        assert_eq!(host.spawn("sum", async { 1 + 1 }).await, Ok(2));
        let panicked = host.spawn("bad", async { panic!("on purpose") }).await;
        assert_eq!(panicked.unwrap_err().message(), "panicked: on purpose");
        let endless = host.spawn("endless", std::future::pending::<()>());
        endless.abort();
        assert_eq!(endless.await.unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(host.blocking(|| 7).await, Ok(7));
        assert_eq!(
            host.blocking(|| panic!("in a job")).await.map(|()| 0).unwrap_err().kind(),
            ErrorKind::Panicked
        );
    });
    // What still runs when the plugin stops is ended.
    let kept = Arc::new(Mutex::new(None));
    let slot = kept.clone();
    lent(|borrower, _| async move {
        *slot.lock().unwrap() = Some(borrower.host.spawn("kept", std::future::pending::<()>()));
    });
    soon("the end of the task", || kept.lock().unwrap().as_ref().is_some_and(|task| task.is_finished()));
}

#[test]
fn streams_carry_bytes_both_ways_and_end() {
    lent(|borrower, _| async move {
        let host = borrower.host.clone();
        let mut listener =
            host.listen(&ListenOptions { host: "127.0.0.1".into(), port: -1, tls: None }).await.unwrap();
        let address = listener.local_address();
        let server = host.spawn("echo", async move {
            let mut stream = listener.accept().await?;
            let mut buffer = [0; 1000];
            loop {
                match stream.read(&mut buffer).await? {
                    0 => return stream.shutdown().await.map_err(Error::from),
                    count => stream.write_all(&buffer[..count]).await?,
                }
            }
        });
        let mut stream =
            host.dial(&DialOptions { address: address.clone(), ..Default::default() }).await.unwrap();
        assert_eq!(stream.facts().peer, address);
        let sent: Vec<u8> = (0..100_000u32).map(|at| at as u8).collect();
        let mut received = vec![0; sent.len()];
        for (out, back) in sent.chunks(10_000).zip(received.chunks_mut(10_000)) {
            stream.write_all(out).await.unwrap();
            stream.read_exact(back).await.unwrap();
        }
        assert_eq!(sent, received);
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        server.await.unwrap().unwrap();
        let refused = host.dial(&DialOptions { address, ..Default::default() }).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Io(std::io::ErrorKind::ConnectionRefused));
        assert!(refused.message().starts_with("cannot dial 127.0.0.1:"), "{refused}");
    });
}

#[test]
fn tls_streams_carry_bytes_know_their_peer_and_heed_pins() {
    lent(|borrower, _| async move {
        let folder = crate::build::empty("tls-lent");
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(path("cert.pem"), own.cert.pem()).unwrap();
        std::fs::write(path("key.pem"), own.key_pair.serialize_pem()).unwrap();
        let host = borrower.host.clone();
        let tls = json!({ "cert_file": path("cert.pem"), "key_file": path("key.pem") });
        let options = ListenOptions { host: "127.0.0.1".into(), port: -1, tls: Some(tls) };
        let mut listener = host.listen(&options).await.unwrap();
        let address = listener.local_address();
        drop(host.spawn("hello", async move {
            loop {
                // A client that breaks off concerns only itself.
                if let Ok(mut stream) = listener.accept().await {
                    let name = stream.facts().tls.and_then(|tls| tls.server_name).unwrap_or_default();
                    stream.write_all(format!("hello {name}").as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            }
        }));
        let dial = |tls: Value| {
            let options = DialOptions {
                address: address.clone(),
                tls: Some(tls),
                tls_name: Some("localhost".into()),
                ..DialOptions::default()
            };
            let host = host.clone();
            async move { host.dial(&options).await }
        };
        let mut stream = dial(json!({ "ca_file": path("cert.pem") })).await.unwrap();
        let facts = stream.facts().tls.unwrap();
        assert_eq!((facts.version.as_str(), facts.peer_certificates.len()), ("1.3", 1));
        let mut greeting = [0; 15];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!((&greeting, stream.read(&mut [0; 1]).await.unwrap()), (b"hello localhost", 0));
        let stranger = dial(json!({})).await.err().unwrap();
        assert!(stranger.message().starts_with("cannot dial 127.0.0.1:"), "{stranger}");
        let pinned = json!({ "ca_file": path("cert.pem"), "pinned_certs": ["00".repeat(32)] });
        let refused = dial(pinned).await.err().unwrap();
        assert!(refused.message().ends_with("certificate not pinned"), "{refused}");
        let missing = ListenOptions { tls: Some(json!({ "cert_file": "/no/cert" })), ..options };
        assert!(host.listen(&missing).await.is_err());
    });
}

#[test]
fn files_are_written_read_and_opened() {
    lent(|borrower, _| async move {
        let folder = crate::build::empty("files-lent");
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let files = borrower.host.files();
        files.write_atomic(&path("a"), b"content").unwrap();
        assert_eq!(files.read_text(&path("a")).unwrap(), "content");
        assert_eq!(
            (files.facts(&path("a")).unwrap().size_bytes, files.list(&path("")).unwrap()),
            (7, vec!["a".into()])
        );
        let file = files
            .open(&path("b"), OpenOptions { write: true, create_new: true, ..Default::default() })
            .unwrap();
        file.write_all_at(3, b"xyz").unwrap();
        file.sync_data().unwrap();
        let mut buffer = [0; 10];
        assert_eq!((file.read_at(4, &mut buffer).unwrap(), file.size().unwrap()), (2, 6));
        files.rename(&path("b"), &path("c")).unwrap();
        assert!(files.free_bytes(&path("c")).unwrap() > 0);
        assert!(files.free_bytes(&path("none")).unwrap_err().message().contains("none"));
        files.remove_file(&path("a")).unwrap();
        assert_eq!(files.list(&path("")).unwrap(), ["c"]);
        assert_eq!(files.read(&path("a")).unwrap_err().kind(), ErrorKind::Io(std::io::ErrorKind::NotFound));
    });
}

#[test]
fn messages_go_out_with_outcomes_and_come_in_inline_or_queued() {
    lent(|borrower, server| async move {
        let host = &borrower.host;
        let count = |delivery| -> (Arc<AtomicUsize>, Subscription) {
            let seen = Arc::new(AtomicUsize::new(0));
            let counter = seen.clone();
            let options = SubscribeOptions { delivery, ..SubscribeOptions::to("m.>") };
            let subscription = host.subscribe(&options, move |batch| {
                counter.fetch_add(batch.len(), Ordering::SeqCst);
            });
            (seen, subscription.unwrap())
        };
        let (inline, first) = count(Delivery::Inline);
        let (queued, second) = count(Delivery::queued());
        let messages =
            [PublishRef::new(b"m.a", b"1"), PublishRef::new(b"nobody", b"2"), PublishRef::new(b"m.b", b"3")];
        let mut outcomes = [Outcome::default(); 3];
        assert_eq!(host.publish_batch("", &messages, &mut outcomes), Ok(4));
        assert_eq!(outcomes.map(|outcome| outcome.receivers), [2, 0, 2]);
        assert_eq!(
            host.publish_batch("", &messages, &mut outcomes[..1]).unwrap_err().kind(),
            ErrorKind::Invalid
        );
        assert_eq!(inline.load(Ordering::SeqCst), 2);
        while queued.load(Ordering::SeqCst) < 2 {
            host.sleep(Duration::from_millis(1)).await;
        }
        drop((first, second));
        assert_eq!(server.subscriptions(), 0);
        let wrong = host.subscribe(&SubscribeOptions::to("a b"), |_| {}).err().unwrap();
        assert_eq!(wrong.message(), "`a b` is not a subject");
    });
}

#[test]
fn the_server_is_known_and_can_be_asked() {
    lent(|borrower, server| async move {
        let host = &borrower.host;
        assert_eq!(host.accounts().unwrap(), ["$G", "$SYS"]);
        assert_eq!(host.account("$G").unwrap().connections, 3);
        assert_eq!(host.account("none").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!((host.connection(5).unwrap().id, host.identity().unwrap().name.as_str()), (5, "stand-in"));
        let varz: Value = serde_json::from_str(&host.snapshot("varz", &json!({ "a": 1 })).unwrap()).unwrap();
        assert_eq!(varz, json!({ "kind": "varz", "params": { "a": 1 } }));
        host.close_connection(5, CloseReason::Kicked, "bye").unwrap();
        assert_eq!(*server.closed.lock().unwrap(), [(5, CloseReason::Kicked, "bye".to_owned())]);
        let plugins = host.plugins().unwrap();
        assert_eq!((plugins[0].name.as_str(), plugins[0].linkage.as_str()), ("borrower", "static"));
        let register = borrower.register.lock().unwrap().clone().unwrap();
        register.info("client", json!({ "extra": true }).as_object().unwrap()).unwrap();
        assert_eq!(server.info.lock().unwrap()["borrower/client"]["extra"], true);
    });
}

struct Upper;

impl Service for Upper {
    fn call(&self, method: &str, payload: Bytes) -> BoxFuture<'static, Result<Bytes>> {
        match method {
            "upper" => boxed(async move { Ok(payload.to_ascii_uppercase().into()) }),
            "panic" => panic!("in a service"),
            _ => boxed(async { Err(Error::not_found("no such method")) }),
        }
    }
}

#[test]
fn a_service_is_found_by_name_and_its_panic_is_the_callers_error() {
    lent(|borrower, _| async move {
        let register = borrower.register.lock().unwrap().clone().unwrap();
        assert_eq!(borrower.host.service("test.upper/1").err().unwrap().kind(), ErrorKind::NotFound);
        register.service("test.upper/1", Arc::new(Upper)).unwrap();
        let service = borrower.host.service("test.upper/1").unwrap();
        assert_eq!(service.call("upper", "abc").await.unwrap(), "ABC");
        assert_eq!(service.clone().call("lower", "abc").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(service.call("panic", "").await.unwrap_err().message(), "panicked: in a service");
    });
}

#[test]
fn a_plugin_starts_when_one_of_its_keys_is_present() {
    let options = PluginsOptions::default();
    let idle = Stage::load(&options);
    assert!(idle.plugins.configure(&options, &[]).is_empty());
    assert_eq!(idle.state("borrower"), "loaded");
    let keys = [("accounts.A.loan".to_owned(), json!(1)), ("accounts.A.other".to_owned(), json!(2))];
    let reload = idle.runtime.block_on(idle.plugins.prepare(&options, &keys));
    assert!(reload.err().unwrap().to_string().contains("needs a restart"));
    let stage = Stage::load(&options);
    assert!(stage.plugins.configure(&options, &keys).is_empty());
    assert_eq!(stage.state("borrower"), "configured");
    let wrong = Stage::load(&options);
    let errors = wrong.plugins.configure(&options, &[("borrower".to_owned(), json!("wrong"))]);
    assert_eq!(errors[0].to_string(), "plugin `borrower`: borrower: must not be wrong");
}

#[test]
fn a_plugin_that_cannot_reload_agrees_to_what_it_has() {
    let options = PluginsOptions { load: Some(vec!["borrower".into()]), ..PluginsOptions::default() };
    lent(|_, _| async {});
    let stage = Stage::load(&options);
    assert!(stage.plugins.configure(&options, &[]).is_empty());
    stage.runtime.block_on(stage.plugins.start()).unwrap();
    stage.reload(&options).unwrap();
    let changed = stage.runtime.block_on(stage.plugins.prepare(&options, &[("borrower".into(), json!(1))]));
    assert!(changed.err().unwrap().to_string().contains("cannot change without a restart"));
}
