//! A test that is a [`super::scenario::Scenario`].

#[allow(unused_macros, reason = "each test binary uses its part of the story")]
macro_rules! story {
    ($name:ident, $scenario:ident, $body:block) => {
        #[test]
        fn $name() {
            // The Lua VM needs deep stacks in an unoptimised build.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .thread_stack_size(8 << 20)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                #[allow(unused_mut)]
                let mut $scenario = Scenario::new().await;
                $body
                $scenario.nothing_more_happens().await;
            });
        }
    };
}

pub(crate) use story;
