package probe

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/internal/netns"
)

// Options says what to probe and how. All but Target have defaults.
type Options struct {
	Target netip.AddrPort
	Rate   int // connections a second: 100
	// Timeout is how long an answer may take: 900 ms, so that one lost SYN,
	// which TCP repeats after a second, is a failure.
	Timeout time.Duration
	// GapAfter is how long no answer may come before it counts as a gap: five
	// times as long as from one connection to the next.
	GapAfter time.Duration
	Request  string // what to send: an HTTP request
}

func (o Options) withDefaults() Options {
	o.Rate = cmp.Or(o.Rate, 100)
	o.Timeout = cmp.Or(o.Timeout, 900*time.Millisecond)
	o.GapAfter = cmp.Or(o.GapAfter, 5*time.Second/time.Duration(o.Rate))
	o.Request = cmp.Or(o.Request, "GET / HTTP/1.0\r\n\r\n")
	return o
}

// Prober probes. Make it with New.
type Prober struct {
	namespace string
	options   Options
	target    unix.Sockaddr
	family    int

	mu    sync.Mutex // guards the field below
	tally *tally
}

// New returns a prober that connects from inside a network namespace.
func New(namespace string, o Options) (*Prober, error) {
	if !o.Target.IsValid() || o.Rate < 0 {
		return nil, fmt.Errorf("probe %v at %d a second: want an address, a port and a rate", o.Target, o.Rate)
	}
	p := &Prober{namespace: namespace, options: o.withDefaults()}
	port := int(o.Target.Port())
	if a := o.Target.Addr(); a.Is4() {
		p.family, p.target = unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: a.As4()}
	} else {
		p.family, p.target = unix.AF_INET6, &unix.SockaddrInet6{Port: port, Addr: a.As16()}
	}
	p.tally = newTally(time.Now(), p.options.GapAfter)
	return p, nil
}

// Report is what has been seen so far.
func (p *Prober) Report() Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tally.at(time.Now())
}

// Reset forgets what has been seen so far.
func (p *Prober) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tally = newTally(time.Now(), p.options.GapAfter)
}

// Run probes until ctx is done.
func (p *Prober) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if err := netns.Enter(p.namespace); err != nil {
			done <- err
			return
		}
		done <- p.loop(ctx)
	}()
	return <-done
}

// attempt is a connection under way.
type attempt struct {
	fd        int
	tried     time.Time
	connected bool
}

// loop is one run of the prober, in its namespace.
type loop struct {
	*Prober
	epoll, timer int
	open         map[int]*attempt
	queue        []*attempt // in the order in which they were tried
}

func (p *Prober) loop(ctx context.Context) (err error) {
	l := &loop{Prober: p, open: map[int]*attempt{}}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(l.epoll)
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(l.timer)
	defer l.closeAll()
	pace := unix.NsecToTimespec(int64(time.Second) / int64(p.options.Rate))
	if err := unix.TimerfdSettime(l.timer, 0, &unix.ItimerSpec{Interval: pace, Value: pace}, nil); err != nil {
		return err
	}
	if err := l.watch(l.timer, unix.EPOLL_CTL_ADD, unix.EPOLLIN); err != nil {
		return err
	}
	p.Reset()
	events := make([]unix.EpollEvent, 64)
	for ctx.Err() == nil {
		// The timer wakes it at the latest.
		n, err := unix.EpollWait(l.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		now := time.Now()
		for _, e := range events[:max(n, 0)] {
			if int(e.Fd) == l.timer {
				err = l.tick(now)
			} else if a, ok := l.open[int(e.Fd)]; ok {
				err = l.handle(a, now)
			}
			if err != nil {
				return err
			}
		}
		// After it was held up itself there may be answers that wait to be
		// read: they come first.
		if n < len(events) {
			l.expire(now)
		}
	}
	return nil
}

func (l *loop) watch(fd, op int, events uint32) error {
	return unix.EpollCtl(l.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// tick tries as many connections as are due.
func (l *loop) tick(now time.Time) error {
	var b [8]byte
	if _, err := unix.Read(l.timer, b[:]); err != nil {
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		return err
	}
	due := binary.NativeEndian.Uint64(b[:])
	l.mu.Lock()
	l.tally.report.Late = max(l.tally.report.Late, time.Duration(due-1)*time.Second/time.Duration(l.options.Rate))
	l.mu.Unlock()
	for range due {
		if err := l.try(now); err != nil {
			return err
		}
	}
	return nil
}

// try begins a connection.
func (l *loop) try(now time.Time) error {
	fd, err := unix.Socket(l.family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	// Closed by a reset: thousands of connections in TIME_WAIT would use up the
	// client's ports.
	err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err := errors.Join(err, netns.PickFrom(fd, netns.ProbePorts)); err != nil {
		unix.Close(fd)
		return err
	}
	l.mu.Lock()
	l.tally.report.Sent++
	l.mu.Unlock()
	a := &attempt{fd: fd, tried: now}
	l.open[fd] = a
	l.queue = append(l.queue, a)
	if err := unix.Connect(fd, l.target); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		l.fail(now, a, err.Error())
		return nil
	}
	return l.watch(fd, unix.EPOLL_CTL_ADD, unix.EPOLLOUT)
}

// handle goes on with a connection that something has happened to.
func (l *loop) handle(a *attempt, now time.Time) error {
	if !a.connected {
		code, err := unix.GetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		if err == nil {
			_, err = unix.Write(a.fd, []byte(l.options.Request))
		}
		if err != nil {
			l.fail(now, a, err.Error())
			return nil
		}
		a.connected = true
		return l.watch(a.fd, unix.EPOLL_CTL_MOD, unix.EPOLLIN)
	}
	var buf [1024]byte
	n, err := unix.Read(a.fd, buf[:])
	switch {
	case errors.Is(err, unix.EAGAIN):
	case err != nil:
		l.fail(now, a, err.Error())
	case n == 0:
		l.fail(now, a, "closed without an answer")
	default:
		l.mu.Lock()
		l.tally.answer(now, a.tried, buf[:n])
		l.mu.Unlock()
		l.close(a)
	}
	return nil
}

// expire gives up on connections that have taken too long.
func (l *loop) expire(now time.Time) {
	for len(l.queue) > 0 {
		a := l.queue[0]
		if l.open[a.fd] == a {
			if now.Sub(a.tried) < l.options.Timeout {
				return
			}
			l.fail(now, a, map[bool]string{true: "no answer", false: "no connection"}[a.connected])
		}
		l.queue = l.queue[1:]
	}
}

func (l *loop) fail(now time.Time, a *attempt, reason string) {
	l.mu.Lock()
	l.tally.fail(now, a.tried, reason)
	l.mu.Unlock()
	l.close(a)
}

func (l *loop) close(a *attempt) {
	delete(l.open, a.fd)
	unix.Close(a.fd)
}

func (l *loop) closeAll() {
	for _, a := range l.open {
		unix.Close(a.fd)
	}
}
