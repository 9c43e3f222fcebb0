package member

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"
)

func TestGate(t *testing.T) {
	g := newGate()
	a, b, stranger := local(0, 1), local(0, 2), local(0, 3)
	if !g.knows(stranger) {
		t.Error("closed before it was told anybody")
	}
	g.admit(map[netip.Addr]struct{}{a: {}, b: {}})
	if g.knows(stranger) || !g.knows(a) {
		t.Error("knows the wrong ones")
	}
	if got := g.budget(); got != streamBase+2*streamPerNode {
		t.Errorf("budget %d", got)
	}
	if r := g.enter(stranger); r != refusedSource {
		t.Errorf("a stranger: %q", r)
	}
	for range maxStreamsPerSource {
		if r := g.enter(a); r != "" {
			t.Errorf("refused: %q", r)
		}
	}
	if r := g.enter(a); r != refusedPerSource {
		t.Errorf("one more from the source: %q", r)
	}
	g.leave(a)
	if r := g.enter(a); r != "" {
		t.Errorf("after one left: %q", r)
	}
	many := map[netip.Addr]struct{}{}
	for i := range 100 {
		many[local(1, i)] = struct{}{}
	}
	g.admit(many)
	for i := range maxStreams - maxStreamsPerSource {
		if r := g.enter(local(1, i)); r != "" {
			t.Errorf("stream %d: %q", i, r)
		}
	}
	if r := g.enter(local(1, 99)); r != refusedStreams {
		t.Errorf("one more in all: %q", r)
	}
	g.leave(a)
	g.leave(a)
	for i := range maxStreams - maxStreamsPerSource {
		g.leave(local(1, i))
	}
	if g.streams != 0 || len(g.perSource) != 0 {
		t.Errorf("%d streams, %d sources left over", g.streams, len(g.perSource))
	}
}

func TestRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "nodes")
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("node-%d", i))
		}
		ring := ringOf(names)
		rand.New(rand.NewPCG(1, 1)).Shuffle(n, func(i, j int) { names[i], names[j] = names[j], names[i] })
		if !slices.Equal(ring, ringOf(names)) {
			t.Error("the order of names matters")
		}
		down := rapid.SampledFrom(names).Draw(t, "down")
		load := map[string]int{}
		for i, p := range ring {
			watchers := watchersOf(ring, i, func(name string) bool { return name != down })
			others := n - 1
			if p.name != down && n > 1 {
				others--
			}
			if len(watchers) != min(watchersEach, others) || slices.Contains(watchers, p.name) || slices.Contains(watchers, down) {
				t.Errorf("%s of %d is watched by %v while %s is down", p.name, n, watchers, down)
			}
			for _, w := range watchers {
				load[w]++
			}
		}
		for name, l := range load {
			if l > 2*watchersEach {
				t.Errorf("%s watches %d", name, l)
			}
		}
	})
}

func TestJudge(t *testing.T) {
	op := func(c Cause) opinion { return opinion{down: c} }
	three := []string{"a", "b", "c"}
	down := verdict{down: HostGone}
	for _, x := range []struct {
		name     string
		before   verdict
		watchers []string
		opinions map[string]opinion
		want     verdict
	}{
		{"nobody says anything", verdict{}, three, nil, verdict{}},
		{"one of three", verdict{}, three, map[string]opinion{"a": op(HostGone)}, verdict{}},
		{"two of three", verdict{}, three, map[string]opinion{"a": op(HostGone), "b": op(HostGone)}, down},
		{"two of three against one", verdict{}, three, map[string]opinion{"a": op(HostGone), "b": op(HostGone), "c": op(0)}, down},
		{"two that differ", verdict{}, three, map[string]opinion{"a": op(HostGone), "b": op(AgentGone)}, verdict{down: AgentGone}},
		{"the cause of most", verdict{}, three, map[string]opinion{"a": op(HostGone), "b": op(AgentGone), "c": op(HostGone)}, down},
		{"one who doesn't watch", verdict{}, three, map[string]opinion{"a": op(HostGone), "d": op(HostGone)}, verdict{}},
		{"one of two", verdict{}, []string{"a", "b"}, map[string]opinion{"a": op(HostGone)}, verdict{}},
		{"the only one, this node", verdict{}, []string{"me"}, map[string]opinion{"me": op(HostGone)}, verdict{HostGone, true}},
		{"the only one, another", verdict{}, []string{"a"}, map[string]opinion{"a": op(HostGone)}, down},
		{"stays down with other watchers", down, three, map[string]opinion{"a": op(HostGone)}, down},
		{"stays down with its cause", down, three, map[string]opinion{"a": op(AgentGone), "b": op(AgentGone)}, down},
		{"comes back when heard", down, three, map[string]opinion{"a": op(HostGone), "b": op(0)}, verdict{}},
		{"stays down while two say so", down, three, map[string]opinion{"a": op(HostGone), "b": op(HostGone), "c": op(0)}, down},
		{"comes back when all are silent", down, three, nil, verdict{}},
		{"no longer alone", verdict{HostGone, true}, []string{"me", "a"}, map[string]opinion{"me": op(HostGone), "a": op(HostGone)}, down},
	} {
		t.Run(x.name, func(t *testing.T) {
			if got := judge(x.before, x.watchers, x.opinions, "me"); got != x.want {
				t.Errorf("%+v, want %+v", got, x.want)
			}
		})
	}
}

func TestRejoinChoice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var known, alive []netip.Addr
		missing := map[netip.Addr]bool{}
		for i := range rapid.IntRange(0, 20).Draw(t, "nodes") {
			known = append(known, local(0, i), local(0, i))
			if rapid.Bool().Draw(t, "alive") {
				alive = append(alive, local(0, i))
			} else {
				missing[local(0, i)] = true
			}
		}
		got := rejoinChoice(known, alive, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
		if len(got) != min(len(missing), rejoinAtATime) || len(got) == 2 && got[0] == got[1] {
			t.Errorf("%v of %v", got, missing)
		}
		for _, a := range got {
			if !missing[a] {
				t.Errorf("%v isn't missing", a)
			}
		}
	})
	r := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		if d := rejoinAfter(r); d < 750*time.Millisecond || d > 1250*time.Millisecond {
			t.Errorf("after %v", d)
		}
	}
	greeted := 0
	for at := time.Duration(0); at < time.Minute; at += 700 * time.Millisecond {
		if greetingDue(at, at+700*time.Millisecond) {
			greeted++
		}
	}
	if greeted != len(greetings) {
		t.Errorf("greeted %d times", greeted)
	}
}

func TestWatchCountsOnlyWhatItCouldHear(t *testing.T) {
	now := time.Unix(1e9, 0)
	w := watch{quiet: now.Add(newcomerGrace)}
	for range 9 {
		w.tick(now)
		now = now.Add(tickEvery)
	}
	if w.missed != 0 {
		t.Error("missed a newcomer's echoes")
	}
	now = now.Add(newcomerGrace)
	w.tick(now)
	for range 20 {
		w.late()
	}
	if w.missed != 1 || w.probe != nil {
		t.Errorf("late ticks count: %d", w.missed)
	}
	if o := w.tick(now); !o.connect || w.probe == nil {
		t.Error("two misses start no probe")
	}
	for range 10 {
		now = w.probe.due.Add(probeStep) // as late as doesn't count
		if o := w.step(now); o != (orders{}) || w.probe.due != now.Add(stepAgain) {
			t.Errorf("a late step does something: %+v", o)
		}
	}
	if w.down != 0 || w.probe.steps != 0 {
		t.Errorf("late steps count: %d", w.probe.steps)
	}
	for w.probe != nil {
		now = w.probe.due
		w.step(now)
	}
	if w.down != HostGone {
		t.Errorf("down: %q", w.down)
	}
	if w.echo(w.pings + 1) {
		t.Error("took the echo of a ping that wasn't sent")
	}
	if !w.echo(w.pings) || w.down != 0 || w.echo(w.pings) {
		t.Error("an echo counts once")
	}
}

func TestWatchTellsAgentFromHost(t *testing.T) {
	now := time.Unix(1e9, 0)
	var w watch
	if o := w.refused(now); !o.ping || !o.connect {
		t.Fatal("a refusal starts no probe")
	}
	w.refused(now)
	w.reset(w.probes - 1)
	if w.down != 0 {
		t.Error("one protocol's refusal is enough")
	}
	w.reset(w.probes)
	if w.down != AgentGone {
		t.Errorf("refused by both: %q", w.down)
	}
	w = watch{}
	w.startProbe(now)
	w.reset(w.probes)
	if w.down != 0 {
		t.Error("one reset is enough")
	}
	w.reset(w.probes)
	if w.down != AgentGone {
		t.Errorf("reset twice: %q", w.down)
	}
	w = watch{}
	w.startProbe(now)
	w.reset(w.probes)
	for w.probe != nil {
		now = w.probe.due
		w.step(now)
	}
	if w.down != AgentGone {
		t.Errorf("silent after a reset: %q", w.down)
	}
	w = watch{}
	w.refused(now)
	w.connected(now, w.probes)
	if w.down != 0 || w.probe != nil || w.stalled.IsZero() {
		t.Errorf("a completed connect: %+v", w)
	}
	w.refused(now.Add(stallHold))
	w.connected(now.Add(stallHold), w.probes)
	if w.down != Stalled {
		t.Errorf("after two seconds: %q", w.down)
	}
	w = watch{}
	w.refused(now)
	w.step(w.probe.due)
	w.doubt()
	if w.probe.steps != 0 {
		t.Error("another's echo doesn't start the probe again")
	}
}

func TestLogBridge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newLogBridge(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})))
		l.Printf("[DEBUG] memberlist: not shown")
		l.Printf("[ERR] memberlist: shown")
		if s := out.String(); !strings.Contains(s, "level=WARN msg=shown") || strings.Contains(s, "not shown") {
			t.Errorf("%s", s)
		}
		out.Reset()
		for range 1000 {
			l.Printf("[WARN] memberlist: flood")
		}
		if n := strings.Count(out.String(), "flood"); n != logBurst-1 {
			t.Errorf("%d lines", n)
		}
		out.Reset()
		time.Sleep(logEvery)
		l.Printf("memberlist: after it")
		if s := out.String(); !strings.Contains(s, "msg=\"after it\" dropped=981") {
			t.Errorf("%s", s)
		}
	})
}

func TestSizeClasses(t *testing.T) {
	for nodes, mult := range map[int]int{0: 6, 10: 6, 11: 5, 100: 5, 101: 4, 301: 3, 5000: 3} {
		if c := classFor(nodes); c.suspicionMult != mult {
			t.Errorf("%d nodes: %d, want %d", nodes, c.suspicionMult, mult)
		}
	}
}

// TestNewsReachesAll holds each class to its promise, by memberlist's formula of
// how many members one passes a piece of news on to.
func TestNewsReachesAll(t *testing.T) {
	for nodes := 2; nodes <= 5000; nodes++ {
		sent := classFor(nodes).retransmitMult * int(math.Ceil(math.Log10(float64(nodes+1))))
		if missed := float64(nodes-1) * math.Exp(-float64(sent)); missed > 0.001 {
			t.Fatalf("of %d nodes %.4f miss each piece of news", nodes, missed)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := Options{Name: "node-1", Address: local(0, 1), KeyDir: oneKey(t), Secret: "herald-system/memberlist", Metrics: NewMetrics(), Logger: slog.New(slog.DiscardHandler)}
	for want, spoil := range map[string]func(o *Options){
		"HERALD_NODE_NAME": func(o *Options) { o.Name = "" },
		"node name":        func(o *Options) { o.Name = "Node 1" },
		"HERALD_HOST_IP":   func(o *Options) { o.Address = netip.Addr{} },
		"has no ent":       func(o *Options) { o.KeyDir = t.TempDir() },
	} {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want something with %q", err, want)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}

func TestMetricsShowAView(t *testing.T) {
	m := NewMetrics()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m)
	m.show(View{Isolated: true, Members: map[string]State{"a": {Alive: true}, "b": {Down: HostGone}, "c": {Down: HostGone}}})
	m.refuseError(fmt.Errorf("reading: %w", refusedKey))
	m.showKeys(2, true)
	want := `
# HELP herald_members Members by state: alive, or why they are down.
# TYPE herald_members gauge
herald_members{state="alive"} 1
herald_members{state="host gone"} 2
# HELP herald_member_isolated 1 while other nodes are known and none is alive.
# TYPE herald_member_isolated gauge
herald_member_isolated 1
# HELP herald_member_refused_total Packets and streams not taken, by reason.
# TYPE herald_member_refused_total counter
herald_member_refused_total{reason="unknown key"} 1
# HELP herald_member_keys Keys by use: held, and waiting while the Secret's primary key isn't in use yet.
# TYPE herald_member_keys gauge
herald_member_keys{use="held"} 2
herald_member_keys{use="waiting"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "herald_members", "herald_member_isolated", "herald_member_refused_total", "herald_member_keys"); err != nil {
		t.Error(err)
	}
}
