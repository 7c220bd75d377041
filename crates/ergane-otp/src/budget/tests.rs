use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn exactly_max_restarts_are_allowed() {
    let mut window = RestartWindow::default();
    let now = Instant::now();
    assert_eq!(window.admit(now, 2, SECOND), Some(0));
    assert_eq!(window.admit(now, 2, SECOND), Some(1));
    assert_eq!(window.admit(now, 2, SECOND), None);
}

#[test]
fn none_is_allowed_with_a_budget_of_0() {
    assert_eq!(RestartWindow::default().admit(Instant::now(), 0, SECOND), None);
}

#[test]
fn the_window_slides() {
    let mut window = RestartWindow::default();
    let now = Instant::now();
    assert_eq!(window.admit(now, 2, SECOND), Some(0));
    assert_eq!(window.admit(now + SECOND / 2, 2, SECOND), Some(1));
    assert_eq!(window.admit(now + SECOND, 2, SECOND), None);
    assert_eq!(window.admit(now + SECOND * 5 / 4, 2, SECOND), Some(1));
    assert_eq!(window.admit(now + SECOND * 10, 2, SECOND), Some(0));
}

#[test]
fn the_first_restart_of_a_window_does_not_wait_and_later_ones_double_up_to_the_limit() {
    let backoff = Backoff { base: SECOND, max: SECOND * 5 };
    assert_eq!(backoff.wait(0, 1.0), Duration::ZERO);
    assert_eq!(backoff.wait(1, 1.0), SECOND);
    assert_eq!(backoff.wait(2, 1.0), SECOND * 2);
    assert_eq!(backoff.wait(3, 1.0), SECOND * 4);
    assert_eq!(backoff.wait(4, 1.0), SECOND * 5);
    assert_eq!(backoff.wait(400, 1.0), SECOND * 5);
    assert_eq!(backoff.wait(4, 0.5), SECOND * 5 / 2);
    assert_eq!(backoff.wait(4, 0.0), Duration::ZERO);
}

#[test]
fn jitter_spreads_between_0_and_1() {
    let draws: Vec<f64> = (0..1000).map(|n| jitter(("a child", n))).collect();
    assert_eq!(
        jitter("a child").to_bits(),
        jitter("a child").to_bits(),
        "what is the same waits for the same time"
    );
    assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
    let mean = draws.iter().sum::<f64>() / 1000.0;
    assert!((0.4..0.6).contains(&mean), "a mean of {mean} is no even spread");
}

mod model {
    use proptest::prelude::*;

    use super::*;

    /// Every restart ever admitted, searched anew each time.
    #[derive(Default)]
    struct Reference(Vec<Instant>);

    impl Reference {
        fn admit(&mut self, now: Instant, max_restarts: u32, within: Duration) -> Option<usize> {
            let before = self.0.iter().filter(|&&at| now - at <= within).count();
            (before < max_restarts as usize).then(|| {
                self.0.push(now);
                before
            })
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_restart_window_is_always_where_its_reference_is(
            max_restarts in 0_u32..6,
            within in 0_u64..50,
            steps in prop::collection::vec(0_u64..30, 0..60),
        ) {
            let (mut window, mut reference) = (RestartWindow::default(), Reference::default());
            let within = Duration::from_millis(within);
            let mut now = Instant::now();
            for step in steps {
                now += Duration::from_millis(step);
                prop_assert_eq!(
                    window.admit(now, max_restarts, within),
                    reference.admit(now, max_restarts, within)
                );
                // It remembers no more than it needs.
                prop_assert!(window.at.len() <= max_restarts as usize);
            }
        }
    }
}
