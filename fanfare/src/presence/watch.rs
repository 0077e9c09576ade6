//! `fanfare presence --watch`: one line for each who comes or goes, over links that break.

use std::time::{Duration, Instant};

use fanfare_proto::v1::presence_change::What;
use fanfare_proto::v1::presence_subject::Kind;
use fanfare_proto::v1::watch_presence_response::Event;
use fanfare_proto::v1::{
    Coverage, Member, PresenceChange, PresenceSubject, SnapshotReason, WatchPresenceRequest,
    WatchPresenceResponse,
};

use super::{or_dash, state};
use crate::cli::{Output, PresenceArguments};
use crate::client::{self, ApiClient};
use crate::endpoint::ApiEndpoint;
use crate::exit::Failure;
use crate::print;

/// How long the server may be away before the watch is given up.
const AWAY: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);

/// Watches until it is ended, or the server refuses or stays away.
pub(super) async fn run(
    client: &ApiClient,
    endpoint: &ApiEndpoint,
    arguments: &PresenceArguments,
) -> Result<(), Failure> {
    let channel = arguments.channel.iter().cloned().map(Kind::Channel);
    let users = arguments.users.iter().cloned().map(Kind::User);
    let subject = |kind| PresenceSubject { kind: Some(kind) };
    let mut request =
        WatchPresenceRequest { subjects: channel.chain(users).map(subject).collect(), cursor: String::new() };
    let (mut api, mut since) = (client.clone(), Instant::now());
    loop {
        let broken = match follow(&api, &mut request, &mut since, arguments.call.output).await {
            Failure::Refused { code, message } if client::is_broken(code) => message,
            failure => return Err(failure),
        };
        // In lines of its own, so that what is printed stays what was told.
        eprintln!("fanfare: the watch has broken and goes on where it was: {broken}");
        api = loop {
            tokio::time::sleep(PAUSE).await;
            match ApiClient::connect(endpoint).await {
                Ok(api) => break api,
                Err(failure) if since.elapsed() > AWAY => return Err(failure),
                Err(_) => {}
            }
        };
        if since.elapsed() > AWAY {
            return Err(Failure::Failed(format!("the server has told nothing since {AWAY:?}: {broken}")));
        }
    }
}

/// Prints what is told until the stream ends; returns why it has.
async fn follow(
    client: &ApiClient,
    request: &mut WatchPresenceRequest,
    since: &mut Instant,
    output: Output,
) -> Failure {
    let mut events = match client.watch_presence(request.clone()).await {
        Ok(events) => events,
        Err(failure) => return failure,
    };
    loop {
        let told = match events.next().await {
            Ok(Some(told)) => told,
            Ok(None) => return Failure::Failed("the server has ended the watch".to_owned()),
            Err(failure) => return failure,
        };
        *since = Instant::now();
        if !told.cursor.is_empty() {
            request.cursor.clone_from(&told.cursor);
        }
        let printed = match output {
            Output::Table => line(&told).map_or(Ok(()), |line| print::line(&line)),
            Output::Json => print::json_line("WatchPresenceResponse", &told),
        };
        if let Err(failure) = printed {
            return failure;
        }
    }
}

/// An event for people; the end of a snapshot says nothing to them.
fn line(told: &WatchPresenceResponse) -> Option<String> {
    match told.event.as_ref()? {
        Event::Coverage(Coverage { as_of, complete, missing }) => {
            let nodes =
                missing.iter().map(|gap| format!("node {} {}", gap.node, print::reason(gap.reason())));
            let why = match (complete, missing.is_empty()) {
                (true, _) => return None,
                (false, true) => "not every node has said what it knows".to_owned(),
                (false, false) => nodes.collect::<Vec<_>>().join(", "),
            };
            Some(format!("{}  incomplete  {why}", print::time(as_of.as_ref())))
        }
        Event::SnapshotStart(start) => match start.reason() {
            SnapshotReason::First | SnapshotReason::Unspecified => None,
            SnapshotReason::CursorLost => Some(anew("the server does not remember all that has changed")),
            SnapshotReason::Slow => Some(anew("more has changed than was read")),
            SnapshotReason::OwnerChanged => Some(anew("another replica has taken over")),
        },
        Event::SnapshotEnd(_) => None,
        Event::Change(PresenceChange { at, what, .. }) => {
            let at = print::time(at.as_ref());
            Some(match what.as_ref()? {
                // In a snapshot there is no change, but somebody who has been there since a time.
                What::Joined(member) if at == "-" => {
                    format!("{}  is here  {}", print::time(member.joined_at.as_ref()), describe(member))
                }
                What::Joined(member) => format!("{at}  joined   {}", describe(member)),
                What::Left(member) => format!("{at}  left     {}", describe(member)),
                What::User(user) if at == "-" => {
                    let since = user.since.as_ref().or(user.last_seen.as_ref());
                    format!("{}  is {}  {}", print::time(since), state(user), user.user)
                }
                What::User(user) => format!("{at}  {}  {}", state(user), user.user),
            })
        }
    }
}

fn anew(why: &str) -> String {
    format!("all is told anew: {why}")
}

fn describe(member: &Member) -> String {
    format!("{}  {}  {}", or_dash(&member.user), member.connection, or_dash(&member.node))
}
