//! The guest itself: PID 1 of a container, from its start to the container's end. The library
//! half's documentation tells its life; [`live`] is the same in code.

mod control;
mod counters;
mod end;
mod job;
mod posture;
mod prestart;
mod pump;
mod results;
mod script;
#[allow(unsafe_code)]
mod sys;

use std::process::ExitCode;

use oncebox_guest::wire::Report;

use control::Control;
use end::Fatal;

fn main() -> ExitCode {
    let Ok(mut control) = Control::open() else { return ExitCode::FAILURE };
    match live(&mut control) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            sys::kill_everyone();
            fatal.tell(&mut control);
            ExitCode::FAILURE
        }
    }
}

fn live(control: &mut Control) -> Result<(), Fatal> {
    if std::process::id() != 1 {
        return Err(Fatal::Broken { step: "be PID 1 of a container", errno: sys::EPERM });
    }
    sys::set_dumpable(false).map_err(Fatal::broken("become non-dumpable"))?;
    sys::close_on_exec(2);
    let argument = std::env::args_os().nth(1);
    let (counters, limits) =
        counters::find(argument.as_deref()).map_err(Fatal::broken("close what was left open"))?;
    let mut signals = sys::take_signals().map_err(Fatal::broken("take the signals"))?;
    // The modes in this code are meant as they stand; the script is given the usual mask.
    sys::umask(0o022);
    let workdir = job::make_workdir().map_err(Fatal::broken("make the working directory"))?;
    let posture = posture::collect(limits).map_err(Fatal::broken("look at its own posture"))?;
    control.push(&Report::Ready(posture));
    control.finish()?;

    let job::Received { job, stdin, prestarted } =
        job::receive(control, &mut signals, &counters, &workdir)?;
    let before = counters.cpu_ns();
    let script = match prestarted {
        Some((waiting, text)) => waiting.run(&text),
        None => script::start(&job, stdin, &workdir),
    };
    let script = script.map_err(Fatal::broken("start the script"))?;
    control.push(&Report::Started);
    let mut ended = pump::run(control, &mut signals, &job, script)?;
    ended.usage = counters.read(before);
    control.push(&Report::Ended(ended));
    results::send(control, &job, &workdir)?;
    control.push(&Report::Done);
    control.finish()
}
