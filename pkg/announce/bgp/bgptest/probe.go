package bgptest

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Probe is a stream of datagrams from a router to an address of the node, and
// back.
type Probe struct {
	t          *testing.T
	echo, conn net.PacketConn
	stop       chan struct{}
	running    sync.WaitGroup

	mu   sync.Mutex
	sent uint32
	back map[uint32]bool
}

// probeEvery is the time between two datagrams.
const probeEvery = 10 * time.Millisecond

// Probe starts a stream to an address that the node has.
func (r *Router) Probe(address string) *Probe {
	r.t.Helper()
	p := &Probe{t: r.t, stop: make(chan struct{}), back: map[uint32]bool{}}
	at := netip.AddrPortFrom(netip.MustParseAddr(address), 0)
	var err error
	if p.echo, err = net.ListenPacket("udp", at.String()); err != nil {
		r.t.Fatal(err)
	}
	r.inside(func() { p.conn, err = net.ListenPacket("udp", ":0") })
	if err != nil {
		r.t.Fatal(err)
	}
	p.running.Go(func() {
		b := make([]byte, 16)
		for {
			n, from, err := p.echo.ReadFrom(b)
			if err != nil {
				return
			}
			p.echo.WriteTo(b[:n], from)
		}
	})
	p.running.Go(func() {
		b := make([]byte, 16)
		for {
			n, _, err := p.conn.ReadFrom(b)
			if err != nil {
				return
			}
			p.mu.Lock()
			p.back[binary.BigEndian.Uint32(b[:n])] = true
			p.mu.Unlock()
		}
	})
	p.running.Go(p.run)
	r.t.Cleanup(p.close)
	return p
}

func (p *Probe) run() {
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
			p.conn.WriteTo(binary.BigEndian.AppendUint32(nil, p.sent), p.echo.LocalAddr()) // one that can't be sent is lost
			p.sent++
		}
	}
}

func (p *Probe) close() {
	select {
	case <-p.stop:
		return
	default:
	}
	close(p.stop)
	time.Sleep(5 * probeEvery) // for the last answers
	p.echo.Close()
	p.conn.Close()
	p.running.Wait()
}

// Lost ends the stream and returns how many datagrams did not come back, and
// how many there were.
func (p *Probe) Lost() (lost, sent int) {
	p.close()
	return int(p.sent) - len(p.back), int(p.sent)
}

// inside runs f on a thread in the router's network namespace. Sockets that it
// opens stay there.
func (r *Router) inside(f func()) {
	r.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with this goroutine
		ns, err := os.Open("/run/netns/" + r.Name)
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	r.check(<-done)
}
