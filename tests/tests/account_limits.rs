//! Limits of accounts that a reload changes while clients are connected (AUTH-013). On natsd, and on the reference server
//! where it is installed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::server::{natsd, reference};
use natsd_tests::{Client, Launch, PATIENCE};
use std::time::{Duration, Instant};

fn config(connections: u32) -> String {
    format!(
        "accounts {{
           A {{ users: [{{ user: a, password: p }}], limits: {{ max_conn: {connections} }} }}
           B {{ users: [{{ user: b, password: p }}], limits: {{ max_conn: 5 }} }}
         }}"
    )
}

#[test]
fn a_reload_closes_who_is_too_many_in_an_account() {
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let server = Launch::new(program).config(config(4)).start();
        let join = |user: &str| {
            let fields = format!(r#""user":"{user}","pass":"p""#);
            let mut client = Client::join(server.address(), &fields).unwrap();
            client.sync();
            client.set_patience(Duration::from_millis(20));
            client
        };
        let mut clients: Vec<Client> = (0..4).map(|_| join("a")).collect();
        let mut other = join("b");
        assert!(server.reload(&config(2)).starts_with("Reloaded"));
        let program = server.program().display();
        let (mut told, since) = (0, Instant::now());
        while told < 2 && since.elapsed() < PATIENCE {
            clients.retain_mut(|client| {
                let is_told = client
                    .next_op()
                    .is_ok_and(|op| op == b"-ERR 'maximum account active connections exceeded'\r\n");
                told += u32::from(is_told);
                !is_told
            });
        }
        assert_eq!((told, clients.len()), (2, 2), "{program}");
        clients.iter_mut().chain([&mut other]).for_each(|client| {
            client.set_patience(PATIENCE);
            client.sync();
        });
        // Nothing to close: they stay.
        assert!(server.reload(&config(3)).starts_with("Reloaded"));
        clients.iter_mut().for_each(|client| drop(client.sync()));
        clients.push(join("a"));
    }
}
