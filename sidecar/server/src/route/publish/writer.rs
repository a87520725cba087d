use std::collections::BTreeMap;

use http::HeaderMap;
use http_body::Frame;
use tokio::sync::mpsc;

use super::{Answers, Frames, Plan, Turn, plan::merge};
use crate::{
    forward::{Framed, failure},
    route::wire,
};

/// What the client is told: waits for the answers to its requests, one after the other.
pub(super) struct Writer {
    frames: Frames,
    answers: BTreeMap<u32, Answers>,
}

impl Writer {
    pub(super) fn new(frames: Frames) -> Self {
        Self {
            frames,
            answers: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self, turns: mpsc::Receiver<Turn>) {
        let frames = self.frames.clone();
        let trailers = tokio::select! {
            trailers = self.write(turns) => trailers,
            // The client is gone.
            () = frames.closed() => return,
        };
        // An error means that the client is gone.
        let _ = frames.send(Ok(Frame::trailers(trailers))).await;
    }

    /// Until there is nothing more to answer; with the trailers of the end.
    async fn write(&mut self, mut turns: mpsc::Receiver<Turn>) -> HeaderMap {
        loop {
            match turns.recv().await {
                None => return wire::ok(),
                Some(Turn::End(trailers)) => return trailers,
                Some(Turn::Request {
                    opened,
                    plan,
                    _room,
                }) => {
                    self.answers.extend(opened);
                    match self.answer(&plan).await {
                        Ok(answer) => {
                            // Nobody to tell it to ends `run`.
                            let _ = self.frames.send(Ok(Frame::data(answer.bytes()))).await;
                        }
                        Err(trailers) => return trailers,
                    }
                }
            }
        }
    }

    /// The answer to one request.
    async fn answer(&mut self, plan: &Plan) -> Result<Framed, HeaderMap> {
        match plan {
            Plan::Nothing => Ok(Framed::new(&[])),
            Plan::One(group) => self.next(*group).await,
            Plan::Several(order) => {
                let mut answers = BTreeMap::new();
                for group in plan.groups() {
                    let answer = self.next(group).await?;
                    let content = wire::content(&answer);
                    answers.insert(group, content.map_err(|status| wire::trailers(&status))?);
                }
                merge(order, &answers).map_err(failure::trailers)
            }
        }
    }

    async fn next(&mut self, group: u32) -> Result<Framed, HeaderMap> {
        match self.answers.get_mut(&group) {
            Some(answers) => answers.next().await,
            None => Err(failure::trailers(failure::leader_changed())),
        }
    }
}
