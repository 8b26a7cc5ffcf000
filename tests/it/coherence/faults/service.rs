//! The service's own processes die, stop, or have another time.

use std::{fs, path::PathBuf, time::Duration};

use super::{Cluster, World};

/// What is wrong with a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum ServiceFault {
    /// Each in turn, in the middle of whatever it does.
    Killed,
    /// One for longer than any lease, and then it goes on.
    Stopped,
    /// One replica's wall clock is an hour ahead.
    ClockAhead,
    /// One replica's wall clock is an hour behind.
    ClockBehind,
}

// === impl ServiceFault ===

impl ServiceFault {
    pub(super) async fn inject(self, cluster: &mut Cluster, world: &World) {
        match self {
            Self::Killed => kill_in_turn(cluster, world).await,
            Self::Stopped => {
                cluster.replicas[0].server.pause();
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            Self::ClockAhead => shift_clock(cluster, world, "+1h").await,
            Self::ClockBehind => shift_clock(cluster, world, "-1h").await,
        }
    }

    pub(super) fn heal(self, cluster: &Cluster) {
        match self {
            Self::Killed => {}
            Self::Stopped => cluster.replicas[0].server.resume(),
            Self::ClockAhead | Self::ClockBehind => set_clock(cluster, "+0"),
        }
    }
}

async fn kill_in_turn(cluster: &mut Cluster, world: &World) {
    for round in 0..2 * cluster.replicas.len() {
        let number = round % cluster.replicas.len();
        cluster.replicas[number].server.kill();
        cluster.replicas[number].restart().await;
        world.reconnect(cluster);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Starts a replica whose wall clock follows a file, and then changes the file.
async fn shift_clock(cluster: &mut Cluster, world: &World, by: &str) {
    set_clock(cluster, "+0");
    let file = clock_file(cluster);
    let file = file.to_str().expect("a test's directory has a plain name").to_owned();
    cluster.replicas[0].server.kill();
    let library = faketime();
    let faked = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_NO_CACHE", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
        // The library makes a process slow.
        ("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "5s"),
    ];
    cluster.replicas[0].restart_with(&faked).await;
    world.reconnect(cluster);
    tokio::time::sleep(Duration::from_secs(1)).await;
    set_clock(cluster, by);
}

/// Debian has a directory of libraries for each architecture.
fn faketime() -> String {
    let directories = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut places = directories.map(|directory| directory.path().join("faketime/libfaketimeMT.so.1"));
    let place = places.find(|place| place.exists()).expect("libfaketime is installed: scripts/deps");
    place.to_str().expect("a system has plain names").to_owned()
}

fn set_clock(cluster: &Cluster, by: &str) {
    fs::write(clock_file(cluster), by).expect("a test's directory is writable");
}

fn clock_file(cluster: &Cluster) -> PathBuf {
    cluster.directory().join("clock")
}
