//! From a listening socket to requests at the door.

use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::{AppConfig, Server};
use actix_web::middleware::from_fn;
use actix_web::{App, web};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::farewell::{Farewell, LINGER};
use super::refusal;
use super::slots::Slots;
use super::state::Connection;
use super::stream::Stream;
use crate::api::access::{self, Origins};
use crate::api::{Code, Door, measure, middleware, routes};
use crate::config::{HttpSettings, Timeouts};

/// For cancelled executions to answer, and for the workers to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves the door's addresses to whoever connects, and to pages of these origins.
///
/// # Errors
/// When the socket can't be listened on.
pub fn serve(
    listener: TcpListener,
    door: web::Data<Door>,
    HttpSettings { max_connections, timeouts }: HttpSettings,
    origins: Option<Origins>,
) -> io::Result<Server> {
    let server = Server::build()
        .workers(available_parallelism().map_or(1, NonZero::get))
        .shutdown_timeout(LAST_ANSWERS.as_secs())
        .disable_signals();
    let stopping = server.graceful_shutdown_signal();
    let slots = Slots::new(max_connections, door.clone());
    let server = server.listen("http", listener, move || {
        let stopping = stopping.clone();
        let app = App::new()
            // The last one is passed first: the id, browsers' questions, then who it is.
            .wrap(from_fn(access::middleware))
            .wrap(access::browsers(origins.as_ref()))
            .wrap(from_fn(middleware))
            .wrap(from_fn(measure))
            .app_data(door.clone())
            .configure(routes)
            .into_factory()
            .map_err(|e| e.error_response());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            // The stream has the deadlines, for every request and not only for the first.
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(LINGER)
            // A client that leaves drops its handler, and that kills its container.
            .h1_allow_half_closed(false)
            .on_connect_ext(|stream: &Stream, extensions| {
                extensions.insert(Rc::clone(stream.connection()));
            })
            .h1(map_config(app, |()| AppConfig::default()));
        let (door, slots) = (door.clone(), slots.clone());
        fn_service(move |io| admitted(io, door.clone(), slots.clone(), timeouts))
            .and_then(http.map_err(drop))
    });
    Ok(server?.run())
}

/// A connection for which there is a place; any other is told so and ended.
async fn admitted(
    io: TcpStream,
    door: web::Data<Door>,
    slots: Arc<Slots>,
    timeouts: Timeouts,
) -> Result<(Stream, Option<std::net::SocketAddr>), ()> {
    // A large answer is several writes; none of them waits for the one before to be confirmed.
    io.set_nodelay(true).map_err(drop)?;
    let peer = io.peer_addr().map_err(drop)?;
    let Some(slot) = slots.take(peer.ip()) else {
        refuse(io, &door, slots.parting()).await;
        return Err(());
    };
    Ok((Stream::new(io, Connection::new(timeouts), door, slot), Some(peer)))
}

/// Says that it is one too many. With leave to wait it is heard first and out, for many clients take
/// an answer only behind their request, and none that ends their connection while they write.
async fn refuse(mut io: TcpStream, door: &Door, leave: Option<SemaphorePermit<'_>>) {
    let Some(_leave) = leave else { return say_so(&mut io, door).await };
    let _ = timeout(LINGER, io.readable()).await;
    say_so(&mut io, door).await;
    let mut farewell = Farewell::default();
    poll_fn(|cx| farewell.poll(&mut io, cx)).await;
}

async fn say_so(io: &mut TcpStream, door: &Door) {
    let answer = refusal::answer(door, Code::TooManyConnections);
    // What it has sent by now is read, or the answer would be lost.
    let _ = io.try_read(&mut [0; 16 * 1024]);
    let _ = timeout(LINGER, io.write_all(&answer)).await;
}
