//! The script of the register does what the function does that it mirrors, over random steps on a real Redis.

use std::{sync::Arc, time::Duration};

use actors::{
    claim::Claim,
    exchange::{Ask, Exchange, Reply},
    register::{Bid, Register, Stamp, Step, apply},
};
use alarm_hub::redis::{Address, exchange::Shared};
use proptest::{prelude::*, test_runner::TestRunner};
use uuid::Uuid;

use super::Redis;

/// Times that lie on both sides of every limit: concurrent, remembered, silent.
const START: Stamp = 1_790_000_000_000_000;

fn claim(number: u64) -> Claim {
    Claim::next(None, Duration::from_millis(1_790_000_000_000 + number), Uuid::nil())
}

fn step() -> impl Strategy<Value = (Stamp, Step, Bid)> {
    let wait = prop_oneof![0..200_000_u64, 40_000_000..80_000_000_u64, 110_000_000..130_000_000_u64];
    let kind = prop_oneof![
        4 => any::<bool>().prop_map(|fresh| Step::Claim { fresh }),
        2 => Just(Step::Renew),
        1 => Just(Step::Release),
    ];
    let revoked = prop_oneof![3 => Just(None), 1 => (0..6_u64).prop_map(Some)];
    (wait, kind, 0..3_u8, 0..8_u64, 0..4_u128, 0..6_u64, 0..300_000_u64, revoked).prop_map(
        |(wait, step, hub, number, conn, of, late, revoked)| {
            let hub: Arc<str> = format!("hub{hub}").into();
            let (conn, claim, revoked) = (Uuid::from_u128(conn + 1), claim(of), revoked.map(claim));
            (wait, step, Bid { hub, number, conn, claim, stamp: late, revoked })
        },
    )
}

#[test]
fn the_script_of_the_register_does_what_the_function_does() {
    let redis = Redis::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = Address::parse(&redis.url()).unwrap();
    let users = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() });
    let steps = proptest::collection::vec(step(), 1..20);
    let result = runner.run(&steps, |steps| {
        users.set(users.get() + 1);
        let user: Arc<str> = format!("user{}", users.get()).into();
        let mut register: Option<Register> = None;
        let mut now = START;
        for (wait, step, mut bid) in steps {
            now += wait;
            bid.stamp = now - bid.stamp;
            let (verdict, _) = apply(&mut register, step, &bid, now);
            let mut shared = Shared::new(address.clone(), "test".into()).at(now);
            let asks = vec![Ask::Bid(user.clone(), step, bid), Ask::Look(user.clone())];
            let replies = runtime.block_on(shared.ask(asks)).expect("Redis answers");
            let [Reply::Verdict(told), Reply::Register(there, _)] = &replies[..] else { panic!("{replies:?}") };
            prop_assert_eq!(told, &verdict);
            prop_assert_eq!(there, &register);
        }
        Ok(())
    });
    result.unwrap();
}
