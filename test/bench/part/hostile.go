package part

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/herald-lb/herald/pkg/announce/bgp"
	"github.com/herald-lb/herald/pkg/announce/bgp/bgptest"
)

// HostileSettings say how much the speaker has to endure.
type HostileSettings struct {
	Routers         int
	Opens, Messages uint64 // at least
}

// Endured is what a speaker went through.
type Endured struct {
	Opens, Messages uint64 // that hostile routers sent
	Sessions        int    // with them that came up
	Good            int    // sessions with the router that behaves: one, if nothing disturbed it
	Done            bool   // there was as much as there should be
}

// Hostile lets a speaker, in a process of its own, speak with routers that send
// mutated messages, and with BIRD, which behaves. If the process crashes, the
// error says so, and what was endured until then is returned with it.
func Hostile(ctx context.Context, o HostileSettings) (Endured, error) {
	var out bytes.Buffer
	failure := isolated(ctx, "hostile", o, &out)
	var last Endured
	for lines := json.NewDecoder(&out); ; {
		var e Endured
		if err := lines.Decode(&e); err != nil {
			return last, failure // the last line may be cut short
		}
		last = e
	}
}

// hostilePort is the first of the hostile routers' ports.
const hostilePort = 20_000

// endureHostile is the part in which the speaker runs, with the routers. It
// writes each second what was endured.
func endureHostile(ctx context.Context, settings []byte, out io.Writer) error {
	var o HostileSettings
	if err := json.Unmarshal(settings, &o); err != nil {
		return err
	}
	if err := settleIn(); err != nil {
		return err
	}
	good, err := startBIRD(ctx, 1)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	t := &ordeal{desired: map[string]bgp.Desired{}}
	t.speaker = bgp.New(bgp.Options{Logger: slog.New(slog.DiscardHandler), Notify: t.note})
	t.add(goodRouter, netip.AddrPortFrom(good.address, bgpPort), 0)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	for i := range o.Routers {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(hostilePort+i))
		l, err := net.Listen("tcp4", at.String())
		if err != nil {
			return err
		}
		h := &bgptest.Hostile{ASN: routerASN, Seed: uint64(i)}
		t.hostile = append(t.hostile, h)
		t.add(fmt.Sprint(i), at, i+1)
		running.Go(func() { h.Serve(ctx, l) })
	}
	running.Go(func() { t.speaker.Run(ctx) })
	t.speaker.Apply(t.desired)
	return t.endure(ctx, o, json.NewEncoder(out))
}

const (
	goodRouter = "good"
	bgpPort    = 179
)

// ordeal is a speaker among hostile routers.
type ordeal struct {
	speaker *bgp.Speaker
	hostile []*bgptest.Hostile
	desired map[string]bgp.Desired

	mu sync.Mutex // guards the field below
	up map[string]int
}

// add makes a router a peer that is told of an address.
func (t *ordeal) add(name string, at netip.AddrPort, number int) {
	a := address(number)
	t.desired[name] = bgp.Desired{
		Peer: bgp.Peer{
			LocalASN: nodeASN, PeerASN: routerASN, Address: at.Addr(), Port: at.Port(), RouterID: netip.AddrFrom4([4]byte{10, 0, 0, 1}),
			HoldTime: 9 * time.Second, RestartTime: time.Minute, KeepOnNotification: name != goodRouter,
		},
		Routes: []bgp.Route{{Prefix: netip.PrefixFrom(a, a.BitLen()), NextHop: netip.AddrFrom4([4]byte{10, 1, 1, 1}), LocalPref: 100}},
	}
}

// note counts sessions that come up.
func (t *ordeal) note(s bgp.Status) {
	if s.State != bgp.Established {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.up == nil {
		t.up = map[string]int{}
	}
	t.up[s.Peer]++
}

// endure waits until there was enough.
func (t *ordeal) endure(ctx context.Context, o HostileSettings, out *json.Encoder) error {
	const retry = 10 * time.Millisecond
	tick := time.NewTicker(retry)
	defer tick.Stop()
	for told := time.Now(); ; {
		e := t.endured()
		e.Done = e.Opens >= o.Opens && e.Messages >= o.Messages && e.Good > 0
		if e.Done || time.Since(told) > time.Second {
			told = time.Now()
			if err := out.Encode(e); err != nil {
				return err
			}
		}
		if e.Done {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		for i := range t.hostile {
			t.speaker.Retry(fmt.Sprint(i)) // no back-off here
		}
	}
}

func (t *ordeal) endured() Endured {
	t.mu.Lock()
	defer t.mu.Unlock()
	var e Endured
	for _, h := range t.hostile {
		e.Opens += h.Opens.Load()
		e.Messages += h.Messages.Load()
	}
	for name, n := range t.up {
		if name == goodRouter {
			e.Good = n
		} else {
			e.Sessions += n
		}
	}
	return e
}
