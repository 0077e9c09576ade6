//! `fanfare push ... -`: the lines of standard input over one stream of pushes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use fanfare_proto::v1::{
    PublishStreamRequest, PublishStreamResponse, publish_stream_response::Result as Answer,
};
use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::lines::{Form, Line, Lines};
use super::tally::Tally;
use crate::cli::PushArguments;
use crate::client::{self, Answers, ApiClient};
use crate::endpoint::ApiEndpoint;
use crate::exit::Failure;

/// Pushes without an answer at most, as many as the server lets wait.
const MAX_UNANSWERED: usize = 4_096;
/// Batches of lines that may wait.
const MAX_BATCHES: usize = 4;
/// Bytes that are read from standard input at once.
const READ: usize = 256 << 10;

type Batch = io::Result<Vec<Line>>;

pub(super) fn run(arguments: &PushArguments, endpoint: &ApiEndpoint, form: Form) -> Result<(), Failure> {
    let started = Instant::now();
    let mut tally = Tally::default();
    let result = client::block_on(async {
        let client = ApiClient::connect(endpoint).await?;
        let mut stream = Stream::open(&client, read_lines(form)?, endpoint.timeout);
        stream.fail_fast = arguments.fail_fast;
        let result = stream.run().await;
        tally = stream.tally;
        Ok(result)
    })?;
    tally.print(started.elapsed(), arguments.message.wait, arguments.output)?;
    result?;
    match tally.failed {
        0 => Ok(()),
        failed => Err(Failure::Failed(format!("{failed} of {} lines failed", tally.lines))),
    }
}

/// Reads standard input on a thread of its own, which ends with the input, with the stream or with the process:
/// a read of a terminal cannot be called off.
fn read_lines(form: Form) -> Result<mpsc::Receiver<Batch>, Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("cannot read standard input: {error}"));
    // Without the standard library's own small buffer.
    let input = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?);
    // queue: lines of standard input
    let (batches, receiver) = mpsc::channel(MAX_BATCHES);
    let read = move || {
        let mut lines = Lines::new(BufReader::with_capacity(READ, input), form);
        while let Some(batch) = lines.next_batch().transpose() {
            let broken = batch.is_err();
            if batches.blocking_send(batch).is_err() || broken {
                return;
            }
        }
    };
    std::thread::Builder::new().name("lines".to_owned()).spawn(read).map_err(failed)?;
    Ok(receiver)
}

/// A stream of pushes, and what it owes.
struct Stream {
    batches: mpsc::Receiver<Batch>,
    /// Lines that wait until there are fewer unanswered pushes; the next is the last.
    waiting: Vec<Line>,
    /// None when all has been sent.
    pushes: Option<mpsc::Sender<PublishStreamRequest>>,
    answers: Answers,
    /// The line of each push without an answer, by the push's number.
    unanswered: HashMap<u64, u64>,
    sent: u64,
    /// How long an answer may take.
    timeout: Duration,
    fail_fast: bool,
    tally: Tally,
}

impl Stream {
    fn open(client: &ApiClient, batches: mpsc::Receiver<Batch>, timeout: Duration) -> Self {
        // queue: pushes on their way to a stream
        let (pushes, receiver) = mpsc::channel(MAX_UNANSWERED);
        Self {
            batches,
            waiting: Vec::new(),
            pushes: Some(pushes),
            answers: client.publish_stream(ReceiverStream::new(receiver)),
            unanswered: HashMap::with_capacity(MAX_UNANSWERED),
            sent: 0,
            timeout,
            fail_fast: false,
            tally: Tally::default(),
        }
    }

    /// Goes on until every line has been sent and answered, or the stream breaks.
    async fn run(&mut self) -> Result<(), Failure> {
        let silence = tokio::time::sleep(self.timeout);
        tokio::pin!(silence);
        loop {
            self.send();
            if self.is_done() {
                return Ok(());
            }
            let wants_lines = self.pushes.is_some() && self.waiting.is_empty();
            tokio::select! {
                batch = self.batches.recv(), if wants_lines => {
                    if self.unanswered.is_empty() {
                        silence.as_mut().reset(tokio::time::Instant::now() + self.timeout);
                    }
                    self.take(batch)?;
                }
                answer = self.answers.next() => {
                    self.answered(answer)?;
                    // What else is here costs no further look at the clock.
                    while !self.is_done() && let Some(answer) = self.answers.next().now_or_never() {
                        self.answered(answer)?;
                    }
                    silence.as_mut().reset(tokio::time::Instant::now() + self.timeout);
                }
                () = &mut silence, if !self.unanswered.is_empty() => {
                    return Err(self.broken(self.answers.silence()));
                }
            }
        }
    }

    /// Whether nothing is to be sent any more and nothing is owed. Then the server may end the stream.
    fn is_done(&self) -> bool {
        self.pushes.is_none() && self.unanswered.is_empty()
    }

    /// Takes lines that were read; none means that there are no more.
    fn take(&mut self, batch: Option<Batch>) -> Result<(), Failure> {
        match batch {
            Some(Ok(lines)) => {
                self.waiting = lines;
                self.waiting.reverse();
                Ok(())
            }
            Some(Err(error)) => {
                self.pushes = None;
                Err(self.broken(Failure::Failed(format!("cannot read standard input: {error}"))))
            }
            None => {
                self.pushes = None;
                Ok(())
            }
        }
    }

    /// Sends what may be sent.
    fn send(&mut self) {
        while self.unanswered.len() < MAX_UNANSWERED {
            let Some(pushes) = &self.pushes else { return };
            let Some(line) = self.waiting.pop() else { return };
            self.tally.lines += 1;
            match line.push {
                Ok(push) => {
                    self.sent += 1;
                    self.unanswered.insert(self.sent, line.number);
                    // There is room for all that may be unanswered. A stream that has ended says why with its answers.
                    let _ = pushes.try_send(PublishStreamRequest { publish: Some(push) });
                }
                Err(why) => self.fail(line.number, &why),
            }
        }
    }

    fn answered(&mut self, answer: Result<Option<PublishStreamResponse>, Failure>) -> Result<(), Failure> {
        let ended = || Failure::Failed("the server has ended the stream".to_owned());
        let answer = answer.and_then(|answer| answer.ok_or_else(ended));
        let PublishStreamResponse { sequence, result } = answer.map_err(|failure| self.broken(failure))?;
        let Some(line) = self.unanswered.remove(&sequence) else {
            return Err(Failure::Failed(format!(
                "the server has answered push {sequence}, which it was not owed"
            )));
        };
        match result {
            Some(Answer::Published(answer)) => self.tally.accept(answer),
            Some(Answer::Error(status)) => self.fail(line, &client::refusal(&status)),
            None => self.fail(line, "the answer is empty: the server runs another version"),
        }
        Ok(())
    }

    /// Tells about a line that failed.
    fn fail(&mut self, line: u64, why: &str) {
        eprintln!("fanfare: line {line}: {why}");
        self.tally.failed += 1;
        if self.fail_fast {
            self.waiting.clear();
            self.pushes = None;
        }
    }

    /// Adds which lines nobody has answered.
    fn broken(&self, failure: Failure) -> Failure {
        let Some(first) = self.unanswered.values().min() else { return failure };
        let more = format!(
            "\n{} without an answer, the first is line {first}: what was sent may have been delivered all the same",
            match self.unanswered.len() {
                1 => "1 line is".to_owned(),
                count => format!("{count} lines are"),
            }
        );
        match failure {
            Failure::Usage(message) => Failure::Usage(message + &more),
            Failure::Failed(message) => Failure::Failed(message + &more),
            Failure::Refused { code, message } => Failure::Refused { code, message: message + &more },
        }
    }
}
