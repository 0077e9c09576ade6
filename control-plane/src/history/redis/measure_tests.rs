//! Measures.
use super::*;
use std::time::Instant;

fn cpu(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (rest[11].parse::<f64>().unwrap() + rest[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn measure() {
    for engine in engines() {
        let store = Store::start(engine);
        let history = open(&config(&store)).await;
        let redis::Value::BulkString(info) = store.command(&["INFO", "server"]) else { panic!() };
        let info = String::from_utf8(info).unwrap();
        let pid = info.lines().find_map(|l| l.strip_prefix("process_id:")).unwrap().trim().to_owned();
        let text = "x".repeat(100);
        for (name, batch, concurrent, keyed) in [
            ("batch 64", 64, 1, false),
            ("batch 64 keyed", 64, 1, true),
            ("single", 1, 1, false),
            ("single, 64 channels at once", 1, 64, false),
        ] {
            let case = case(&history);
            let (t, own, theirs) = (Instant::now(), cpu("self"), cpu(&pid));
            let mut count = 0u64;
            let mut n = 0u64;
            while t.elapsed() < Duration::from_secs(5) {
                let appends = (0..concurrent).map(|c| {
                    let entries = (0..batch)
                        .map(|i| Entry {
                            key: if keyed { format!("{n}-{i}-abcdefghijklm") } else { String::new() },
                            ..entry(&text)
                        })
                        .collect();
                    n += 1;
                    history
                        .append(Append { channel: case.channel(&format!("c{c}")), ..case.request(entries) })
                });
                for a in join_all(appends.collect::<Vec<_>>()).await {
                    count += a.unwrap().outcomes.len() as u64;
                }
            }
            let s = t.elapsed().as_secs_f64();
            println!(
                "{engine} {name}: {:.0}/s, own cpu {:.2} us each, server cpu {:.2} us each, latency per call {:.0} us",
                count as f64 / s,
                (cpu("self") - own) * 1e6 / count as f64,
                (cpu(&pid) - theirs) * 1e6 / count as f64,
                s * 1e6 / (n as f64 / concurrent as f64)
            );
        }
        let case = case(&history);
        case.append((0..100).map(|_| entry(&text)).collect()).await;
        let (t, own, theirs) = (Instant::now(), cpu("self"), cpu(&pid));
        let mut n = 0;
        while t.elapsed() < Duration::from_secs(3) {
            assert_eq!(history.read(Read { limit: 100, ..all(&case) }).await.unwrap().stored.len(), 100);
            n += 1;
        }
        println!(
            "{engine} read of 100: {:.0} us, own cpu {:.1} us, server cpu {:.1} us",
            3e6 / n as f64,
            (cpu("self") - own) * 1e6 / n as f64,
            (cpu(&pid) - theirs) * 1e6 / n as f64
        );
    }
}
