//! What the media threads cost, beside what the kernel alone costs.
//!
//! In the same run, in turns: a bare loop that drains as many sockets with epoll and recvmmsg
//! every 5 ms, and every 100 ms, and throws everything away; the same with nothing more than the
//! bytes of a recording written to files; and our ports recording the same streams. Then a bare
//! loop that sends to where nobody reads, one that wakes a reader with each packet, and our ports
//! playing to where nobody reads. Then short calls, one after another: open, a beep, a
//! second of recording, close.
//! `cargo bench --bench receive [streams] [seconds]`

#![expect(
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    reason = "a bench counts what fits into any number, and stops where anything fails"
)]

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use afterbeep::media::{
    Codec, Config, Event, Keying, Keys, MasterKey, Media, OpenError, Port, Security, Sound, Stream,
    Suite, Take, wav,
};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

fn main() {
    let number = |n| std::env::args().filter_map(|arg| arg.parse::<usize>().ok()).nth(n);
    let (streams, seconds) = (number(0).unwrap_or(400), number(1).unwrap_or(3));
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory =
        tempfile::tempdir_in(if Path::new("/dev/shm").exists() { "/dev/shm" } else { "." });
    let directory = directory.unwrap();

    println!("{streams} streams of PCMU, {seconds} s each turn");
    for _ in 0..2 {
        let bare = |pace, keep| bare(streams, seconds, Duration::from_millis(pace), keep);
        let [often, seldom] = [bare(5, None), bare(100, None)];
        let kept = bare(100, Some(directory.path()));
        println!("bare, 5 ms    {often}");
        println!("bare, 100 ms  {seldom}");
        println!("bare, to file {kept}");
        let ours = runtime.block_on(recording(streams, seconds, directory.path(), None));
        println!("recording     {ours}");
        let ratio = |bare: &Cost| ours.per_packet() / bare.per_packet();
        println!("ratios        {:.2}, {:.2}, {:.2}", ratio(&often), ratio(&seldom), ratio(&kept));
    }
    for suite in [Suite::AesCm80, Suite::Gcm128] {
        let secured = recording(streams, seconds, directory.path(), Some(suite));
        println!("{:13} {}", format!("{suite:?}"), runtime.block_on(secured));
    }
    let [bare, woken] = [false, true].map(|woken| sending(streams, seconds, woken));
    println!("bare sending  {bare}");
    println!("to a reader   {woken}");
    let playing = runtime.block_on(playing(streams, seconds));
    println!("playing       {playing}");
    println!("ratio         {:.2}", playing.per_packet() / bare.per_packet());
    runtime.block_on(short_calls(250, seconds, directory.path()));
}

/// What a turn cost.
struct Cost {
    cpu: HashMap<String, Duration>,
    packets: u64,
    lost: u64,
    call_seconds: f64,
    memory: Option<f64>,
}

impl Cost {
    fn total(&self) -> Duration {
        self.cpu.values().sum()
    }

    fn per_packet(&self) -> f64 {
        self.total().as_secs_f64() * 1e6 / self.packets as f64
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let call = self.total().as_secs_f64() * 1e3 / self.call_seconds;
        let packet = self.per_packet();
        write!(f, "{packet:.2} us/packet, {call:.3} ms/call-s, {} lost", self.lost)?;
        for (thread, cpu) in &self.cpu {
            let share = cpu.as_secs_f64() * 1e6 / self.packets as f64;
            write!(f, ", {thread} {share:.2}")?;
        }
        self.memory.map_or(Ok(()), |memory| write!(f, ", {memory:.1} KiB/call"))
    }
}

fn bare(streams: usize, seconds: usize, pace: Duration, keep: Option<&Path>) -> Cost {
    let sockets: Vec<_> = (0..streams).map(|_| loopback()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let received = Arc::new(AtomicU64::new(0));
    let targets: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let files = keep.map(|directory| -> Vec<_> {
        (0..streams).map(|n| fs::File::create(directory.join(format!("b{n}"))).unwrap()).collect()
    });
    let drain = {
        let (stop, received) = (Arc::clone(&stop), Arc::clone(&received));
        let thread = thread::Builder::new().name("bare".to_owned());
        thread.spawn(move || drain(&sockets, pace, files.as_deref(), &stop, &received)).unwrap()
    };
    let before = cpu("bare");
    let sent = send(&targets, seconds, None, |_| loopback());
    thread::sleep(pace + Duration::from_millis(50));
    let cpu = cpu_since(&before, "bare");
    stop.store(true, Ordering::Relaxed);
    drain.join().unwrap();
    let packets = received.load(Ordering::Relaxed);
    let call_seconds = (streams * seconds) as f64;
    Cost { cpu, packets, lost: sent.saturating_sub(packets), call_seconds, memory: None }
}

/// Takes everything out of the sockets; to files the bytes of 18 packets at once, decoded to twice
/// their length.
fn drain(
    sockets: &[UdpSocket],
    pace: Duration,
    files: Option<&[fs::File]>,
    stop: &AtomicBool,
    received: &AtomicU64,
) {
    let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
    for (n, socket) in sockets.iter().enumerate() {
        epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, n as u64)).unwrap();
    }
    let mut buffers = [[0; 2048]; 6];
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(6, None);
    let mut events = [EpollEvent::empty(); 512];
    let mut kept = vec![0; sockets.len()];
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(pace);
        loop {
            let count = epoll.wait(&mut events, 0_u8).unwrap();
            for event in &events[..count] {
                let n = usize::try_from(event.data()).unwrap();
                let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
                let flags = MsgFlags::MSG_DONTWAIT;
                let fd = sockets[n].as_raw_fd();
                let packets = recvmmsg(fd, &mut headers, slices.iter_mut(), flags, None);
                let packets = packets.map_or(0, Iterator::count);
                received.fetch_add(packets as u64, Ordering::Relaxed);
                kept[n] += packets;
                if let Some(files) = files.filter(|_| kept[n] % 18 < packets) {
                    files[n].write_all_at(&[0x55; 18 * 320], (kept[n] * 320) as u64).unwrap();
                }
            }
            if count < events.len() {
                break;
            }
        }
    }
}

/// A loop that sends to as many, spread over the 20 ms of a frame, and does nothing else. On one
/// machine the sender pays for bringing the packets to their sockets, and for waking who waits.
fn sending(streams: usize, seconds: usize, woken: bool) -> Cost {
    let listeners: Arc<[_]> = (0..streams).map(|_| loopback()).collect();
    let targets: Vec<_> = listeners.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let sockets: Vec<_> = (0..streams).map(|_| loopback()).collect();
    for (socket, target) in sockets.iter().zip(targets) {
        socket.connect(target).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let reader = woken.then(|| {
        let (listeners, stop) = (Arc::clone(&listeners), Arc::clone(&stop));
        thread::spawn(move || read(&listeners, &stop))
    });
    let thread = thread::Builder::new().name("bare".to_owned());
    let sender = thread.spawn(move || {
        let before = cpu("bare");
        let (start, packet) = (Instant::now(), [0x55; 172]);
        for step in 0..seconds * 200 {
            let due = start + Duration::from_millis(step as u64 * 5);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            for socket in sockets.iter().skip(step % 4).step_by(4) {
                // Nobody takes it out at the other end, and in the end there is no room.
                let _ = socket.send(&packet);
            }
        }
        cpu_since(&before, "bare")
    });
    let cpu = sender.unwrap().join().unwrap();
    stop.store(true, Ordering::Relaxed);
    reader.map(thread::JoinHandle::join).transpose().unwrap();
    let call_seconds = (streams * seconds) as f64;
    Cost { cpu, packets: (streams * seconds * 50) as u64, lost: 0, call_seconds, memory: None }
}

/// Waits for each packet, as a client with few calls does.
fn read(sockets: &[UdpSocket], stop: &AtomicBool) {
    let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
    for (n, socket) in sockets.iter().enumerate() {
        epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, n as u64)).unwrap();
    }
    let mut events = [EpollEvent::empty(); 64];
    while !stop.load(Ordering::Relaxed) {
        let count = epoll.wait(&mut events, 100_u8).unwrap();
        for event in &events[..count] {
            sockets[usize::try_from(event.data()).unwrap()].recv(&mut [0; 2048]).unwrap();
        }
    }
}

async fn recording(streams: usize, seconds: usize, directory: &Path, suite: Option<Suite>) -> Cost {
    let media = media();
    let callers: Vec<_> = (0..streams).map(|_| loopback()).collect();
    let idle = resident();
    let files: Vec<_> = (0..streams).map(|n| directory.join(format!("{n}.wav"))).collect();
    let mut ports = Vec::new();
    for (caller, file) in callers.iter().zip(&files) {
        let mut port = open(&media);
        if let Some(suite) = suite {
            port.secure(&sdes(suite));
        }
        // With events for keys, as nearly every call has them: none are listened for in the audio.
        let stream = Stream::new(Some(caller.local_addr().unwrap()), Codec::Pcmu);
        port.connect(Stream { telephone_event: Some(101), ..stream });
        port.record(take(file.clone()));
        ports.push(port);
    }
    let targets: Vec<_> = ports.iter().map(address).collect();
    let before = cpu("");
    let sender = thread::spawn(move || {
        let mut callers = callers.into_iter();
        send(&targets, seconds, suite, |_| callers.next().unwrap())
    });
    thread::sleep(Duration::from_millis(seconds as u64 * 900));
    let memory = (resident() - idle) / streams as f64;
    let sent = sender.join().unwrap();
    thread::sleep(Duration::from_millis(50));
    let mut cpu = cpu_since(&before, "media");
    cpu.extend(cpu_since(&before, "writer"));
    let mut samples = 0;
    for (mut port, file) in ports.into_iter().zip(files) {
        port.stop_recording();
        match port.next().await {
            Event::Recorded(recording) => samples += recording.samples,
            other => panic!("{other:?}"),
        }
        assert!(wav::info(&file).is_ok());
    }
    let packets = samples / 160;
    let call_seconds = (streams * seconds) as f64;
    Cost { cpu, packets, lost: sent - packets, call_seconds, memory: Some(memory) }
}

async fn playing(streams: usize, seconds: usize) -> Cost {
    let media = media();
    let listeners: Vec<_> = (0..streams).map(|_| loopback()).collect();
    let sound = Arc::new(Sound::silence(Duration::from_secs(seconds as u64), Codec::Pcmu));
    let before = cpu("media");
    let mut ports = Vec::new();
    for listener in &listeners {
        let mut port = open(&media);
        port.connect(Stream::new(Some(listener.local_addr().unwrap()), Codec::Pcmu));
        port.play(vec![Arc::clone(&sound)]);
        ports.push(port);
        thread::sleep(Duration::from_micros(200));
    }
    let mut packets = 0;
    for port in &mut ports {
        assert!(matches!(port.next().await, Event::Played));
        packets += port.statistics().sent;
    }
    let call_seconds = (streams * seconds) as f64;
    let lost = (streams * seconds * 50) as u64 - packets;
    Cost { cpu: cpu_since(&before, "media"), packets, lost, call_seconds, memory: None }
}

/// Calls as they come: so many a second, each a beep and a second of silence from the caller.
async fn short_calls(rate: usize, seconds: usize, directory: &Path) {
    let media = media();
    let beep = Arc::new(Sound::silence(Duration::from_millis(400), Codec::Pcmu));
    let listener = loopback().local_addr().unwrap();
    let before = cpu("");
    let mut calls = tokio::task::JoinSet::new();
    let start = Instant::now();
    for n in 0..rate * seconds {
        let due = start
            + Duration::from_secs(1) * u32::try_from(n).unwrap() / u32::try_from(rate).unwrap();
        tokio::time::sleep_until(due.into()).await;
        let (media, beep, file) =
            (media.clone(), Arc::clone(&beep), directory.join(format!("s{n}.wav")));
        calls.spawn(async move {
            let mut port = open(&media);
            port.connect(Stream::new(Some(listener), Codec::Pcmu));
            port.play(vec![beep]);
            assert!(matches!(port.next().await, Event::Played));
            port.record(take(file));
            tokio::time::sleep(Duration::from_secs(1)).await;
            port.stop_recording();
            assert!(matches!(port.next().await, Event::Recorded(_)));
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    let cpu = cpu_since(&before, "");
    let share = |cpu: &Duration| cpu.as_secs_f64() * 1e6 / (rate * seconds) as f64;
    print!("short calls   {rate}/s");
    for (thread, cpu) in cpu.iter().filter(|(_, cpu)| cpu.as_millis() > 0) {
        print!(", {thread} {:.0} us/call", share(cpu));
    }
    println!();
}

fn media() -> Media {
    let bind = Ipv4Addr::LOCALHOST.into();
    let config =
        Config { ports: 30_000..=49_999, bind, threads: 1, writers: 1, ..Config::default() };
    Media::start(config).unwrap()
}

/// Opens a port, however far the media thread is behind.
fn open(media: &Media) -> Port {
    loop {
        match media.open() {
            Err(OpenError::Overloaded) => thread::sleep(Duration::from_millis(5)),
            opened => return opened.unwrap(),
        }
    }
}

fn take(file: PathBuf) -> Take {
    Take {
        open: Box::new(move || {
            fs::File::options().read(true).write(true).create(true).truncate(true).open(file)
        }),
        limit: Duration::from_mins(10),
        silence: None,
        silence_level: 256,
        adapts: true,
        trims: false,
    }
}

fn address(port: &Port) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port.number()).into()
}

fn loopback() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// Sends 50 packets a second to each target, spread over the milliseconds.
/// The same key both ways; of the callers too.
fn sdes(suite: Suite) -> Security {
    let key = MasterKey::new(suite, &vec![7; suite.key_length() + suite.salt_length()]).unwrap();
    let keys = Keys { ours: key.clone(), theirs: key };
    Security { keying: Keying::Sdes(Box::new(keys)), ice: None }
}

fn protected(suite: Suite, seconds: usize, packet: [u8; 172]) -> Vec<Vec<u8>> {
    let profile = match suite {
        Suite::AesCm80 => ProtectionProfile::Aes128CmHmacSha1_80,
        _ => ProtectionProfile::AeadAes128Gcm,
    };
    let (key, salt) = (vec![7; suite.key_length()], vec![7; suite.salt_length()]);
    let mut context = Context::new(&key, &salt, profile, None, None).unwrap();
    let frames = 0..u16::try_from(seconds * 50).unwrap();
    frames.map(|frame| context.encrypt_rtp(&numbered(packet, frame)).unwrap().to_vec()).collect()
}

fn numbered(mut packet: [u8; 172], frame: u16) -> [u8; 172] {
    packet[2..4].copy_from_slice(&frame.to_be_bytes());
    packet[4..8].copy_from_slice(&(u32::from(frame) * 160).to_be_bytes());
    packet
}

fn send(
    targets: &[SocketAddr],
    seconds: usize,
    suite: Option<Suite>,
    mut socket: impl FnMut(usize) -> UdpSocket,
) -> u64 {
    let sockets: Vec<_> = (0..targets.len()).map(&mut socket).collect();
    let mut packet = [0x55; 172];
    packet[..12].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    let protected = suite.map(|suite| protected(suite, seconds, packet));
    let start = Instant::now();
    let mut sent = 0;
    for step in 0..seconds * 1000 {
        let due = start + Duration::from_millis(step as u64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let frame = u16::try_from(step / 20).unwrap();
        packet = numbered(packet, frame);
        let packet = match &protected {
            Some(protected) => &protected[usize::from(frame)][..],
            None => &packet[..],
        };
        for n in (step % 20..targets.len()).step_by(20) {
            sockets[n].send_to(packet, targets[n]).unwrap();
            sent += 1;
        }
    }
    sent
}

/// CPU time of this process's threads by id and name, where the name begins so.
fn cpu(name: &str) -> HashMap<(String, String), Duration> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let times = tasks.filter_map(|task| {
        let comm = fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned();
        let nanos = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let nanos = nanos.split_whitespace().next()?.parse().ok()?;
        let id = task.file_name().into_string().ok()?;
        comm.starts_with(name).then_some(((id, comm), Duration::from_nanos(nanos)))
    });
    times.collect()
}

fn cpu_since(
    before: &HashMap<(String, String), Duration>,
    name: &str,
) -> HashMap<String, Duration> {
    let mut since = HashMap::new();
    for (thread, time) in cpu(name) {
        let earlier = before.get(&thread).copied().unwrap_or_default();
        *since.entry(thread.1).or_insert(Duration::ZERO) += time.saturating_sub(earlier);
    }
    since
}

/// Resident memory in KiB.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}
