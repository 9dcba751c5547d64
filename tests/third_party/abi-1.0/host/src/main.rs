//! Loads one plugin file, starts it, asks it for its snapshot, and prints that; or prints why not.
//!
//! It lends a clock and nothing else: enough to see whether both sides mean the same by their tables.

use natsd_plugin_api::abi::lifecycle::Instance;
use natsd_plugin_api::abi::message::FfiSink;
use natsd_plugin_api::abi::points::{FfiAuthenticator, FfiCall, FfiObserver, FfiTransportFactory};
use natsd_plugin_api::abi::root::{CheckedRoot, header_at, symbol};
use natsd_plugin_api::abi::serve::{HostSide, serve};
use natsd_plugin_api::files::RawFiles;
use natsd_plugin_api::net::{RawListener, RawStream};
use natsd_plugin_api::*;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

fn main() {
    let path = std::env::args().nth(1).expect("a plugin's file");
    match load(&path) {
        Ok(snapshot) => println!("{snapshot}"),
        Err(why) => println!("refused: {why}"),
    }
}

fn load(path: &str) -> std::result::Result<Value, String> {
    // SAFETY: the file is one of the test's own.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| error.to_string())?;
    // SAFETY: only the address is taken; the library is never closed.
    let header = unsafe {
        let symbol = library.get::<*const ()>(symbol("old").as_bytes()).map_err(|error| error.to_string())?;
        header_at(symbol.into_raw().into_raw().cast_const().cast())
    };
    std::mem::forget(library);
    let root = CheckedRoot::open(header.map_err(|why| why.to_string())?).map_err(|why| why.to_string())?;
    let run = || {
        let instance = Instance::create(&root, serve(Box::new(Clock)), &Section::default())?;
        wait(instance.start())?;
        instance.introspect(&Value::from("hello"))
    };
    run().map_err(|error| error.to_string())
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let (mut future, mut context) = (std::pin::pin!(future), Context::from_waker(Waker::noop()));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

struct Clock;

fn no<T>() -> Result<T> {
    Err(Error::unsupported("this host has only a clock"))
}

impl HostSide for Clock {
    fn monotonic_ns(&self) -> u64 {
        1
    }
    fn unix_ns(&self) -> u64 {
        2
    }
    fn sleep_until_ns(&self, _: u64) -> BoxFuture<'static, Result<()>> {
        boxed(async { Ok(()) })
    }

    fn log(&self, _: u8, _: &str, _: &str, _: &[(&str, &str)]) {}
    fn mismatch(&self, _: &str, _: &str) {}
    fn fill_random(&self, _: &mut [u8]) {}
    fn spawn(&self, _: &str, _: BoxFuture<'static, Result<()>>) -> u64 {
        0
    }
    fn abort(&self, _: u64) {}
    fn spawn_blocking(&self, _: Box<dyn FnOnce() + Send>) -> Result<()> {
        no()
    }
    fn listen(&self, _: ListenOptions) -> BoxFuture<'static, Result<Box<dyn RawListener>>> {
        boxed(async { no() })
    }
    fn dial(&self, _: DialOptions) -> BoxFuture<'static, Result<Box<dyn RawStream>>> {
        boxed(async { no() })
    }
    fn files(&self) -> Result<Arc<dyn RawFiles>> {
        no()
    }
    fn publish(&self, _: &str, _: &[PublishRef<'_>], _: &mut [Outcome]) -> Result<u64> {
        no()
    }
    fn subscribe(&self, _: SubscribeOptions, _: FfiSink) -> Result<u64> {
        no()
    }
    fn unsubscribe(&self, _: u64) {}
    fn accounts(&self) -> Result<Value> {
        no()
    }
    fn account(&self, _: &str) -> Result<Value> {
        no()
    }
    fn connection(&self, _: u64) -> Result<Value> {
        no()
    }
    fn close_connection(&self, _: u64, _: CloseReason, _: &str) -> Result<()> {
        no()
    }
    fn identity(&self) -> Result<Value> {
        no()
    }
    fn snapshot(&self, _: &str, _: Value) -> Result<String> {
        no()
    }
    fn add_listener(
        &self,
        _: ListenerSpec,
        _: FfiTransportFactory,
    ) -> BoxFuture<'static, Result<ListenerFacts>> {
        boxed(async { no() })
    }
    fn remove_listener(&self, _: u64) {}
    fn add_authenticator(&self, _: FfiAuthenticator) -> Result<u64> {
        no()
    }
    fn remove_authenticator(&self, _: u64) {}
    fn add_observer(&self, _: FfiObserver) -> Result<u64> {
        no()
    }
    fn remove_observer(&self, _: u64) {}
    fn set_info(&self, _: &str, _: Map<String, Value>) -> Result<()> {
        no()
    }
    fn plugins(&self) -> Result<Value> {
        no()
    }
    fn introspect(&self, _: &str, _: Value) -> Result<Value> {
        no()
    }
    fn provide(&self, _: &str, _: FfiCall) -> Result<()> {
        no()
    }
    fn find(&self, _: &str) -> Result<FfiCall> {
        no()
    }
}
