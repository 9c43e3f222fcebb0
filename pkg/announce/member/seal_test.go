package member

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func testKey(t testing.TB, name string) Key {
	t.Helper()
	k, err := NewKey([]byte("a secret of some length: " + name))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// ringOfKeys is a keyring whose primary is the first.
func ringOfKeys(keys ...Key) *atomic.Pointer[keyring] {
	var p atomic.Pointer[keyring]
	p.Store(&keyring{primary: keys[0], held: keys})
	return &p
}

func TestSealedPackets(t *testing.T) {
	a, b := testKey(t, "a"), testKey(t, "b")
	var counter atomic.Uint64
	s := newSealer(a, 7, "cluster", &counter)
	fresh := func() []byte { return s.seal(nil, kindEcho, []byte("hello")) }
	for _, x := range []struct {
		name   string
		packet []byte
		with   *opener
		want   error
	}{
		{"good", fresh(), newOpener("cluster", ringOfKeys(a)), nil},
		{"by the second key", fresh(), newOpener("cluster", ringOfKeys(b, a)), nil},
		{"unknown key", fresh(), newOpener("cluster", ringOfKeys(b)), refusedKey},
		{"other cluster", fresh(), newOpener("other", ringOfKeys(a)), refusedForged},
		{"other kind", func() []byte { p := fresh(); p[1] = byte(kindPing); return p }(), newOpener("cluster", ringOfKeys(a)), refusedForged},
		{"other session", func() []byte { p := fresh(); p[10]++; return p }(), newOpener("cluster", ringOfKeys(a)), refusedForged},
		{"other counter", func() []byte { p := fresh(); p[20]++; return p }(), newOpener("cluster", ringOfKeys(a)), refusedForged},
		{"changed", func() []byte { p := fresh(); p[len(p)-1]++; return p }(), newOpener("cluster", ringOfKeys(a)), refusedForged},
		{"short", fresh()[:headerLen+tagLen-1], newOpener("cluster", ringOfKeys(a)), refusedMalformed},
		{"kind that isn't", func() []byte { p := fresh(); p[1] = 99; return p }(), newOpener("cluster", ringOfKeys(a)), refusedMalformed},
		{"empty", nil, newOpener("cluster", ringOfKeys(a)), refusedMalformed},
	} {
		p, err := x.with.open(x.packet)
		if !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", x.name, err, x.want)
		}
		if x.want == nil && (string(p.plain) != "hello" || p.session != 7 || p.kind != kindEcho) {
			t.Errorf("%s: %+v", x.name, p)
		}
		if x.want == nil {
			if _, err := x.with.open(x.packet); !errors.Is(err, refusedReplay) {
				t.Errorf("%s, a second time: %v", x.name, err)
			}
		}
	}
}

func TestOpenerForgetsTheSessionUnusedForLongest(t *testing.T) {
	k := testKey(t, "a")
	o := newOpener("", ringOfKeys(k))
	open := func(s session) {
		t.Helper()
		var counter atomic.Uint64
		counter.Store(uint64(len(o.sessions)))
		if _, err := o.open(newSealer(k, s, "", &counter).seal(nil, kindPing, nil)); err != nil {
			t.Fatal(err)
		}
	}
	for s := range session(maxSessions) {
		open(s)
	}
	o.sessions[sessionKey{k.id.hint(), 0}].used = o.clock + 1 // as if it had just been heard
	open(maxSessions)
	if len(o.sessions) != maxSessions {
		t.Errorf("%d sessions", len(o.sessions))
	}
	for s, there := range map[session]bool{0: true, 1: false, 2: true, maxSessions: true} {
		if _, ok := o.sessions[sessionKey{k.id.hint(), s}]; ok != there {
			t.Errorf("session %d remembered: %v", s, ok)
		}
	}
}

func TestReplayWindowAcceptsOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w replayWindow
		seen := map[uint64]bool{}
		newest := uint64(0)
		for range rapid.IntRange(1, 300).Draw(t, "packets") {
			n := uint64(max(0, int64(newest)+rapid.Int64Range(-2500, 2500).Draw(t, "step")))
			fresh := !seen[n] && n+(windowWords-1)*64 > newest
			if got := w.accept(n); got != fresh {
				t.Fatalf("%d with newest %d: accepted %v, want %v", n, newest, got, fresh)
			}
			seen[n] = true
			newest = max(newest, n)
		}
	})
}

func TestNoWayOfPrintingShowsAKey(t *testing.T) {
	k := testKey(t, "a")
	text, _ := k.MarshalText()
	for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s %x %q %d", k, k, k, k, k, k, k), fmt.Sprintf("%+v", Keys{Primary: k}), string(text)} {
		if strings.Contains(s, fmt.Sprintf("%x", k.secret[:4])) || strings.Contains(s, fmt.Sprint(k.secret[:4])) || !strings.Contains(s, k.id.String()) {
			t.Errorf("prints as %s", s)
		}
	}
	if bytes.Contains(k.secret[:], k.id[:4]) {
		t.Error("the id is part of the key")
	}
}

func FuzzOpen(f *testing.F) {
	k := testKey(f, "a")
	var counter atomic.Uint64
	f.Add(newSealer(k, 7, "", &counter).seal(nil, kindPing, []byte("12345678")))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		o := newOpener("", ringOfKeys(k))
		if p, err := o.open(b); err != nil && p.plain != nil {
			t.Error("refused, and handed out")
		}
	})
}

func BenchmarkSealAndOpen(b *testing.B) {
	k := testKey(b, "a")
	var counter atomic.Uint64
	s, o := newSealer(k, 7, "", &counter), newOpener("", ringOfKeys(k))
	buf := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := o.open(s.seal(buf, kindPing, []byte("12345678"))); err != nil {
			b.Fatal(err)
		}
	}
}
