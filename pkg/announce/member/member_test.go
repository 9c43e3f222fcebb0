package member

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
)

const testPort = 17946

// local is an address of the loopback network; each test uses its own third
// byte.
func local(test, n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 94, byte(test), byte(n)}) }

// keyDir makes a mounted Secret.
func keyDir(t testing.TB, entries map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, value := range entries {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func oneKey(t testing.TB) string {
	return keyDir(t, map[string]string{PrimaryKey: "a secret of some length"})
}

// running is a member in this process.
type running struct {
	*Member
	stop context.CancelFunc
	done chan struct{}

	mu   sync.Mutex // guards the fields below
	view View
	news chan struct{} // closed at the next view
}

func startMember(t testing.TB, o Options) *running {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if o.Port == 0 {
		o.Port = testPort
	}
	if o.Cluster == "" {
		o.Cluster = "test"
	}
	o.Secret = "herald-system/memberlist"
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Member: m, stop: cancel, done: make(chan struct{}), news: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
		close(r.done)
	})
	wg.Go(func() {
		for {
			select {
			case v := <-m.Views():
				r.mu.Lock()
				r.view = v
				close(r.news)
				r.news = make(chan struct{})
				r.mu.Unlock()
			case <-r.done:
				return
			}
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return r
}

// await waits until the view is as wanted and returns it.
func (r *running) await(t testing.TB, what string, wanted func(View) bool) View {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		r.mu.Lock()
		v, news := r.view, r.news
		r.mu.Unlock()
		if wanted(v) {
			return v
		}
		select {
		case <-news:
		case <-timeout:
			t.Fatalf("%s doesn't come to see: %s; it sees %+v", r.options.Name, what, v)
		}
	}
}

func aliveIn(v View) int {
	n := 0
	for _, s := range v.Members {
		if s.Alive {
			n++
		}
	}
	return n
}

func startCluster(t testing.TB, test, n int) []*running {
	t.Helper()
	dir := oneKey(t)
	var peers []netip.Addr
	for i := range n {
		peers = append(peers, local(test, i+1))
	}
	var members []*running
	for i := range n {
		members = append(members, startMember(t, Options{Name: fmt.Sprintf("node-%d", i+1), Address: peers[i], KeyDir: dir, Peers: peers}))
	}
	for _, m := range members {
		m.await(t, "all members", func(v View) bool { return aliveIn(v) == n })
	}
	return members
}

func TestMembersJoinAndLeave(t *testing.T) {
	m := startCluster(t, 1, 3)
	link := announce.Link{Name: "eth0", MAC: announce.MAC{2, 0, 0, 0, 0, 1}, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.31.0/24")}, Default4: true}
	m[0].Publish(Local{Ready: true, Links: []announce.Link{link}, ConfigHash: [8]byte{1, 2, 3}})
	v := m[2].await(t, "node-1 ready", func(v View) bool { return v.Members["node-1"].Ready })
	s := v.Members["node-1"]
	if len(s.Links) != 1 || s.Links[0].MAC != link.MAC || s.ConfigHash != [8]byte{1, 2, 3} || s.Addr != local(1, 1) {
		t.Errorf("node-1 as seen by node-3: %+v", s)
	}
	if v.Isolated || v.Known != 2 {
		t.Errorf("isolated %v, known %d", v.Isolated, v.Known)
	}
	m[0].stop()
	for _, other := range m[1:] {
		v := other.await(t, "node-1 gone", func(v View) bool { return !v.Members["node-1"].Alive })
		if down := v.Members["node-1"].Down; down != Left {
			t.Errorf("node-1 went down as %q, want %q", down, Left)
		}
	}
	<-m[0].done
}
