package bgp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// script is one end of a guard's connection, in a test's hands.
type script struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (s *script) send(msgs ...[]byte) {
	s.t.Helper()
	for _, m := range msgs {
		if _, err := s.Write(m); err != nil {
			s.t.Errorf("sending %x: %v", m, err)
		}
	}
}

// expect reads the next message.
func (s *script) expect(typ byte) []byte {
	s.t.Helper()
	msg, err := readMessage(s.r)
	if err != nil {
		s.t.Errorf("waiting for a message of type %d: %v", typ, err)
		return message(typ)
	}
	if messageType(msg) != typ {
		s.t.Errorf("got %x, want a message of type %d", msg, typ)
	}
	return bytes.Clone(msg)
}

// rest reads until the end and returns what came.
func (s *script) rest() []byte {
	b, _ := io.ReadAll(s.r)
	return b
}

// libraryOpen is an OPEN as GoBGP writes it.
func libraryOpen() []byte {
	caps := unhex("0200", "490c 056e6f646531 00", "0104 0001 0001", "0104 0002 0001", "4104 0000fc00", "400a 4078 00010100 00020100", "0506 0001 0001 0002")
	caps[3] = 7
	body := append(unhex("04 fc00 005a 0a010001"), byte(len(caps)+2), paramCaps, byte(len(caps)))
	return message(typeOpen, append(body, caps...)...)
}

type scene struct {
	guard           *guard
	router, library *script
	end             chan *ending
	opened, up      bool
	cancel          context.CancelCauseFunc
}

func newScene(t *testing.T, p Peer) *scene {
	routerEnd, routerFar := net.Pipe()
	libraryEnd, libraryFar := net.Pipe()
	s := &scene{
		router:  &script{t, routerFar, bufio.NewReader(routerFar)},
		library: &script{t, libraryFar, bufio.NewReader(libraryFar)},
		end:     make(chan *ending, 1),
	}
	s.guard = &guard{peer: p, router: routerEnd, library: libraryEnd, traffic: &traffic{}}
	s.guard.opened = func(*open) { s.opened = true }
	s.guard.up = func() { s.up = true }
	var ctx context.Context
	ctx, s.cancel = context.WithCancelCause(t.Context())
	go func() { s.end <- s.guard.run(ctx) }()
	return s
}

// greet brings the session up.
func (s *scene) greet() {
	s.library.send(libraryOpen())
	s.router.expect(typeOpen)
	s.router.send(routerOpen())
	s.library.expect(typeOpen)
	s.library.send(message(typeKeepalive))
	s.router.expect(typeKeepalive)
	s.router.send(message(typeKeepalive))
	s.library.expect(typeKeepalive)
	synctest.Wait()
}

func TestGuardBringsSessionUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, with(func(p *Peer) { p.HoldTime, p.RestartTime = 90*time.Second, 120*time.Second }))
		s.library.send(libraryOpen())
		o, err := decodeOpen(messageBody(s.router.expect(typeOpen)))
		if err != nil {
			t.Fatal(err)
		}
		want := restart{offered: true, flags: restartState | restartNotification, seconds: 120, ipv4: true, ipv6: true, forward4: true, forward6: true}
		if o.restart != want || !o.extNextHop || o.holdTime != 90 {
			t.Errorf("the router got %+v", o)
		}
		s.router.send(routerOpen())
		s.library.expect(typeOpen)
		s.router.send(message(typeKeepalive))
		s.library.expect(typeKeepalive)
		synctest.Wait()
		if s.up || !s.opened {
			t.Errorf("opened %t, up %t before the library has accepted the OPEN", s.opened, s.up)
		}
		s.library.send(message(typeKeepalive))
		s.router.expect(typeKeepalive)
		synctest.Wait()
		if !s.up {
			t.Error("not up")
		}
		update := message(typeUpdate, unhex("0000 0000 20c0000201")...)
		s.library.send(update)
		if got := s.router.expect(typeUpdate); !bytes.Equal(got, update) {
			t.Errorf("got %x", got)
		}
		s.cancel(nil)
		<-s.end
	})
}

func TestGuardEndings(t *testing.T) {
	for name, c := range map[string]struct {
		peer  Peer
		play  func(*testing.T, *scene)
		cause Cause
		text  string
		last  []byte // what the router gets at the end
		after time.Duration
	}{
		"silent router": {
			play:  func(_ *testing.T, s *scene) { s.library.send(libraryOpen()); s.router.expect(typeOpen) },
			cause: OpenTimeout, text: "sent no OPEN for 10s", after: openTimeout,
		},
		"no KEEPALIVE": {
			play: func(_ *testing.T, s *scene) {
				s.library.send(libraryOpen())
				s.router.expect(typeOpen)
				s.router.send(routerOpen())
				s.library.expect(typeOpen)
			},
			cause: OpenTimeout, text: "no KEEPALIVE for 10s", after: openTimeout,
		},
		"hangs up at once": {
			play:  func(_ *testing.T, s *scene) { s.router.Close() },
			cause: ConnectionLost, text: "not configured to accept this node",
		},
		"hangs up later": {
			play:  func(_ *testing.T, s *scene) { s.greet(); s.router.Close() },
			cause: ConnectionLost, text: "the router closed the connection",
		},
		"unknown message": {
			play:  func(_ *testing.T, s *scene) { s.greet(); s.router.send(message(77)) },
			cause: Malformed, text: "a message of type 77", last: message(typeNotification, 1, 3),
		},
		"unknown message instead of OPEN": {
			play:  func(_ *testing.T, s *scene) { s.router.send(message(77)) },
			cause: Malformed, text: "a message of type 77", last: message(typeNotification, 1, 3),
		},
		"NOTIFICATION": {
			play: func(_ *testing.T, s *scene) {
				s.greet()
				s.router.send(message(typeNotification, 6, 2, 4, 'w', 'o', 'r', 'k'))
				s.library.expect(typeNotification)
			},
			cause: Notified, text: `administrative shutdown (6/2) "work"`,
		},
		"NOTIFICATION with a hint": {
			play: func(_ *testing.T, s *scene) {
				s.library.send(libraryOpen())
				s.router.expect(typeOpen)
				s.router.send(message(typeNotification, 2, 2))
				s.library.expect(typeNotification)
			},
			cause: Notified, text: "compare my-asn",
		},
		"library refuses the ASN": {
			peer: with(func(p *Peer) { p.PeerASN = 65001 }),
			play: func(_ *testing.T, s *scene) {
				s.library.send(libraryOpen())
				s.router.expect(typeOpen)
				s.router.send(routerOpen())
				s.library.expect(typeOpen)
				s.library.send(message(typeNotification, 2, 2))
				s.library.Close()
			},
			cause: OpenRefused, text: "its ASN is 65000, peer-asn says 65001", last: message(typeNotification, 2, 2),
		},
		"library's hold timer": {
			play: func(_ *testing.T, s *scene) {
				s.greet()
				s.library.send(message(typeNotification, 4, 0))
				s.library.Close()
			},
			cause: HoldTimerExpired, text: "nothing was heard", last: message(typeNotification, 4, 0),
		},
		"router stops reading": {
			play: func(_ *testing.T, s *scene) {
				s.greet()
				s.library.send(message(typeUpdate, 0, 0, 0, 0))
				time.Sleep(20 * time.Second)
			},
			cause: Stalled, text: "not read what was sent for 9s", after: 9 * time.Second,
		},
		"reconfigured": {
			play:  func(_ *testing.T, s *scene) { s.greet(); s.cancel(&ending{Reconfigured, "new settings"}) },
			cause: Reconfigured, text: "new settings",
		},
		"removed": {
			play:  func(_ *testing.T, s *scene) { s.greet(); s.cancel(&farewell{ending{Removed, "gone"}}) },
			cause: Removed, text: "gone", last: message(typeNotification, 6, 3),
		},
		"removed, RFC 8538": {
			peer:  with(func(p *Peer) { p.KeepOnNotification = true }),
			play:  func(_ *testing.T, s *scene) { s.greet(); s.cancel(&farewell{ending{Removed, "gone"}}) },
			cause: Removed, text: "gone", last: message(typeNotification, 6, 9, 6, 3),
		},
		"stopped": {
			play:  func(_ *testing.T, s *scene) { s.greet(); s.cancel(nil) },
			cause: Stopped, text: "is stopping",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.peer == (Peer{}) {
					c.peer = holding
				}
				s := newScene(t, c.peer)
				began := time.Now()
				c.play(t, s)
				last := make(chan []byte, 1)
				if c.cause != Stalled {
					go func() { last <- s.router.rest() }()
					go func() { s.library.rest() }()
				} else {
					last <- nil
				}
				end := <-s.end
				if end.cause != c.cause || !strings.Contains(end.reason, c.text) {
					t.Errorf("ended with %q, %q", end.cause, end.reason)
				}
				if took := time.Since(began); c.after != 0 && c.cause != Stalled && took != c.after {
					t.Errorf("ended after %s, want %s", took, c.after)
				}
				if got := <-last; !bytes.Equal(got, c.last) {
					t.Errorf("the router got %x, want %x", got, c.last)
				}
				s.router.Close()
				s.library.Close()
				synctest.Wait()
			})
		})
	}
}

// A NOTIFICATION must not be put into the middle of a message.
func TestGuardIsSilentAfterHalfAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, holding)
		s.greet()
		go s.library.Write(message(typeUpdate, make([]byte, 1000)...))
		half := make([]byte, 100)
		if _, err := io.ReadFull(s.router, half); err != nil {
			t.Fatal(err)
		}
		s.cancel(&farewell{ending{Removed, "gone"}})
		time.Sleep(closeTimeout / 2)
		synctest.Wait()
		end := <-s.end
		if rest := s.router.rest(); len(rest) != 0 || end.cause != Removed {
			t.Errorf("the router got %x at the end, cause %s", rest, end.cause)
		}
		s.library.Close()
	})
}

func TestNoHoldTimeIsWrittenIntoOurOpen(t *testing.T) {
	g := &guard{peer: with(func(p *Peer) { p.HoldTime = 0 })}
	msg, err := g.ownOpen(messageBody(libraryOpen()))
	if err != nil {
		t.Fatal(err)
	}
	if o, err := decodeOpen(messageBody(msg)); err != nil || o.holdTime != 0 {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestLoopbackTakesOnlyOwnConnections(t *testing.T) {
	l, err := listenLoopback()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	connectFromElsewhere(t, l.port())
	go func() {
		c, err := net.Dial("tcp", l.listener.Addr().String())
		if err != nil {
			t.Errorf("connecting: %v", err)
			return
		}
		c.Write([]byte("ours"))
		t.Cleanup(func() { c.Close() })
	}()
	c, err := l.accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "ours" {
		t.Errorf("accepted the connection that said %q, %v", b, err)
	}
}

func TestLoopbackStopsWithItsContext(t *testing.T) {
	l, err := listenLoopback()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	if _, err := l.accept(ctx); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// waitForConnection returns when a connection waits to be accepted.
func waitForConnection(t *testing.T, port uint16) {
	t.Helper()
	want := strings.ToUpper(hexPort(port))
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		table, err := os.ReadFile("/proc/self/net/tcp")
		if err != nil {
			t.Skip(err)
		}
		for line := range strings.Lines(string(table)) {
			if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[2], ":"+want) && f[3] == "01" {
				return
			}
		}
	}
	t.Fatal("nobody connected")
}

func hexPort(port uint16) string { return fmt.Sprintf("%04x", port) }

// Without a hold time no KEEPALIVE but the first goes over the wire, and the
// library, which could not do without, gets those that it needs.
func TestNoHoldTimeKeepsTheLibraryAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, with(func(p *Peer) { p.HoldTime = 0 }))
		s.greet()
		go func() {
			for range 10 {
				time.Sleep(30 * time.Second)
				s.library.Write(message(typeKeepalive))
			}
		}()
		for range 10 {
			s.library.expect(typeKeepalive)
		}
		update := message(typeUpdate, 0, 0, 0, 0)
		s.library.send(update)
		if got := s.router.expect(typeUpdate); !bytes.Equal(got, update) {
			t.Errorf("got %x", got)
		}
		s.cancel(nil)
		<-s.end
		s.library.Close()
	})
}
