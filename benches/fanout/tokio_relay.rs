//! The other way round for comparison: clients' messages to the source, by tokio-tungstenite.
//!
//! What its users write: a task for each client, a channel to the task that owns the source, which
//! sends all that is there before it flushes. One thread.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{accept_async, client_async};

use crate::failure::Failure;
use crate::raw;

const QUEUED_MESSAGES: usize = 1000;

/// Dials `upstream`, prints the address where clients are accepted, and forwards until the upstream
/// ends.
pub(crate) fn run(upstream: SocketAddr) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(Failure::during("starting a runtime"))?
        .block_on(relay(upstream))
        .map_err(|error| Failure::new(format!("relaying: {error}")))
}

async fn relay(upstream: SocketAddr) -> Result<(), Error> {
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let (source, _) = client_async(format!("ws://{upstream}/"), stream).await?;
    let (mut sink, mut broadcast) = source.split();
    tokio::spawn(async move { while let Some(Ok(_)) = broadcast.next().await {} });

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    raw::announce(&listener.local_addr()?.to_string())
        .map_err(|failure| Error::Io(std::io::Error::other(failure)))?;
    let (outbox, mut inbox) = mpsc::channel(QUEUED_MESSAGES);
    tokio::spawn(accept(listener, outbox));
    forward(&mut inbox, &mut sink).await
}

async fn accept(listener: TcpListener, outbox: Sender<Message>) {
    while let Ok((stream, _)) = listener.accept().await {
        let outbox = outbox.clone();
        tokio::spawn(async move {
            let Ok(mut client) = accept_async(stream).await else { return };
            while let Some(Ok(message)) = client.next().await {
                if message.is_binary() && outbox.send(message).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn forward(
    inbox: &mut Receiver<Message>,
    sink: &mut (impl SinkExt<Message, Error = Error> + Unpin),
) -> Result<(), Error> {
    while let Some(message) = inbox.recv().await {
        sink.feed(message).await?;
        while let Ok(message) = inbox.try_recv() {
            sink.feed(message).await?;
        }
        sink.flush().await?;
    }
    Ok(())
}
