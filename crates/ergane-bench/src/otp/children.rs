//! Many idle children: how long their start takes, and how much memory each.

use std::ops::Range;

use ergane::ractor::Actor;
use tokio::task::JoinSet;

use super::ours::{PATIENCE, spec, tree};
use super::{Echo, bare};
use crate::args::ChildrenArgs;
use crate::laps::per;
use crate::process::{Stopwatch, resident};
use crate::record::Record;
use crate::{Outcome, process};

/// So many tasks start children at once.
const STARTERS: usize = 64;

pub(crate) async fn run(options: &ChildrenArgs) -> Outcome<Vec<Record>> {
    let count = options.count;
    let (seconds, cpu, before) =
        if options.bare { start_bare(count).await? } else { start_ours(count).await? };
    let bytes = resident()?.saturating_sub(before) as f64;
    let record = Record::new("children")
        .param("children", count)
        .param("bare", options.bare)
        .metric("seconds", seconds)
        .metric("spawns_per_s", count as f64 / seconds)
        .metric("cpu_us", per(cpu * 1e6, count))
        .metric("bytes_per_child", per(bytes, count));
    Ok(vec![record])
}

type Started = (f64, f64, u64);

/// Seconds, seconds of CPU, and the memory before.
async fn start_ours(count: usize) -> Outcome<Started> {
    // Nobody drops the tree: the process ends with it.
    let (_, _, pool) = tree("many").await?;
    let before = resident()?;
    let watch = Stopwatch::start();
    let mut starters: JoinSet<Outcome<()>> = JoinSet::new();
    for share in shares(count, STARTERS) {
        let pool = pool.clone();
        starters.spawn(async move {
            for number in share {
                pool.start_child(spec(&format!("child {number}")), PATIENCE).await?;
            }
            Ok(())
        });
    }
    finish(starters).await?;
    Ok((watch.wall().as_secs_f64(), watch.cpu().as_secs_f64(), before))
}

async fn start_bare(count: usize) -> Outcome<Started> {
    let parent = bare::parent().await?.get_cell();
    let before = process::resident()?;
    let watch = Stopwatch::start();
    let mut starters: JoinSet<Outcome<()>> = JoinSet::new();
    for share in shares(count, STARTERS) {
        let parent = parent.clone();
        starters.spawn(async move {
            for number in share {
                Actor::spawn_linked(Some(format!("child {number}")), Echo, (), parent.clone()).await?;
            }
            Ok(())
        });
    }
    finish(starters).await?;
    Ok((watch.wall().as_secs_f64(), watch.cpu().as_secs_f64(), before))
}

pub(crate) async fn finish(mut tasks: JoinSet<Outcome<()>>) -> Outcome<()> {
    while let Some(outcome) = tasks.join_next().await {
        outcome??;
    }
    Ok(())
}

/// `count` things shared out among at most `among`.
pub(crate) fn shares(count: usize, among: usize) -> impl Iterator<Item = Range<usize>> {
    let size = count.div_ceil(among.max(1)).max(1);
    (0..count).step_by(size).map(move |first| first..(first + size).min(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thing_is_in_one_share() {
        for (count, among) in [(0, 3), (1, 3), (7, 3), (9, 3), (100, 64), (64, 64)] {
            let shares: Vec<_> = shares(count, among).collect();
            assert!(shares.len() <= among, "{count} among {among}");
            assert_eq!(shares.into_iter().flatten().collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
        }
    }
}
