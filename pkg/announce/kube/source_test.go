package kube

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/herald-lb/herald/pkg/announce"
)

func TestMain(m *testing.M) {
	// One of the handlers sleeps if the last error was too recent, which it
	// always is when the clock of the next bubble starts anew.
	utilruntime.ErrorHandlers = nil
	goleak.VerifyTestMain(m)
}

// kind is one kind of object of a fake API server. Objects are listed as they
// are at first; later changes are sent to the one watcher.
type kind struct {
	mu      sync.Mutex // guards the fields below
	list    runtime.Object
	away    bool
	watcher *watch.FakeWatcher
}

var _ cache.ListerWatcher = (*kind)(nil)

func (k *kind) List(metav1.ListOptions) (runtime.Object, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away {
		return nil, io.ErrUnexpectedEOF
	}
	return k.list, nil
}

func (k *kind) Watch(metav1.ListOptions) (watch.Interface, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away {
		return nil, io.ErrUnexpectedEOF
	}
	k.watcher = watch.NewFakeWithChanSize(100, false)
	return k.watcher, nil
}

// IsWatchListSemanticsUnSupported says that there is only List and Watch.
func (k *kind) IsWatchListSemanticsUnSupported() bool { return true }

func (k *kind) setAway(away bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.away = away
	if away && k.watcher != nil {
		k.watcher.Stop()
	}
}

// server is a fake API server, and what a Source made of it.
type server struct {
	services, slices, nodes, config, pods *kind

	mu        sync.Mutex // guards delivered
	delivered []*announce.Cluster
}

func listMeta() metav1.ListMeta { return metav1.ListMeta{ResourceVersion: "1"} }

func newServer() *server {
	return &server{
		services: &kind{list: &corev1.ServiceList{ListMeta: listMeta(), Items: []corev1.Service{*lbService(func(*corev1.Service) {})}}},
		slices:   &kind{list: &discoveryv1.EndpointSliceList{ListMeta: listMeta(), Items: []discoveryv1.EndpointSlice{*slice("web", endpoint("n1", ptr(true), ptr(true)))}}},
		nodes:    &kind{list: &corev1.NodeList{ListMeta: listMeta(), Items: []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}}}},
		config:   &kind{list: &corev1.ConfigMapList{ListMeta: listMeta(), Items: []corev1.ConfigMap{*acceptedConfig(document1, "1")}}},
		pods:     &kind{list: &corev1.PodList{ListMeta: listMeta()}},
	}
}

const (
	document1 = "address-pools: [{name: one, protocol: layer2, addresses: [192.168.31.240/28]}]"
	document2 = "address-pools: [{name: two, protocol: layer2, addresses: [192.168.31.240/28]}]"
)

func (s *server) all() []*kind {
	return []*kind{s.services, s.slices, s.nodes, s.config, s.pods}
}

// start runs a Source until the test ends.
func (s *server) start(t *testing.T, state *State) (stop func()) {
	source := NewSource(slog.New(slog.DiscardHandler), Feeds{
		Services: s.services, EndpointSlices: s.slices, Nodes: s.nodes, Config: s.config, Pods: s.pods,
	}, state, func(c *announce.Cluster) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.delivered = append(s.delivered, c)
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- source.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func (s *server) last(t *testing.T) *announce.Cluster {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.delivered) == 0 {
		t.Fatal("nothing was delivered")
	}
	return s.delivered[len(s.delivered)-1]
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.delivered)
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestSourceDeliversWhatIsThereAndWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		defer s.start(t, nil)()
		pass(time.Second)
		c := s.last(t)
		want := []announce.Service{{Name: "shop/web", UID: "u1", Addresses: ips("192.168.31.240"), Ready: true, ReadyNodes: []string{"n1"}}}
		if diff := cmp.Diff(want, c.Services, cmpOptions); diff != "" {
			t.Errorf("services (-want +got):\n%s", diff)
		}
		if c.Freshness != announce.Live || c.Config.Pools[0].Name != "one" || c.Generation != 1 || len(c.Nodes) != 1 {
			t.Errorf("cluster: %+v", c)
		}

		before := s.count()
		s.slices.watcher.Modify(slice("web", endpoint("n2", ptr(true), ptr(true))))
		pass(time.Millisecond)
		if got := s.last(t).Services[0].ReadyNodes; !cmp.Equal(got, []string{"n2"}) {
			t.Errorf("a change after a quiet time was not delivered at once: ready on %v", got)
		}
		for i := range 50 {
			s.services.watcher.Modify(lbService(func(s *corev1.Service) {
				s.Spec.ExternalTrafficPolicy = [...]corev1.ServiceExternalTrafficPolicy{"Local", "Cluster"}[i%2]
			}))
		}
		pass(time.Second)
		if n := s.count() - before; n > 3 {
			t.Errorf("%d deliveries for a change and a burst", n)
		}

		before = s.count()
		s.nodes.watcher.Modify(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", ResourceVersion: "77", Annotations: map[string]string{"beat": "1"}}})
		pass(time.Second)
		if n := s.count() - before; n != 0 {
			t.Errorf("%d deliveries for a change that does not matter", n)
		}

		s.services.watcher.Delete(lbService(func(*corev1.Service) {}))
		pass(time.Second)
		if got := s.last(t).Services; len(got) != 0 {
			t.Errorf("services after the deletion: %+v", got)
		}
	})
}

func TestSourceKeepsTheLastGoodConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		defer s.start(t, nil)()
		pass(time.Second)
		for _, c := range []struct {
			name    string
			change  func()
			pool    string
			problem string
		}{
			{"edited by hand", func() {
				bad := acceptedConfig(document2, "1")
				bad.Data[documentKey] = document1 + "\n"
				s.config.watcher.Modify(bad)
			}, "one", "not written by the controller"},
			{"not understood", func() { s.config.watcher.Modify(acceptedConfig("new-things: 1", "2")) }, "one", "generation 2"},
			{"accepted", func() { s.config.watcher.Modify(acceptedConfig(document2, "3")) }, "two", ""},
			{"deleted", func() { s.config.watcher.Delete(acceptedConfig(document2, "3")) }, "two", ""},
			{"class-less Services given up", func() {
				c := acceptedConfig(document2, "4")
				c.Data[classlessKey] = "false"
				s.config.watcher.Add(c)
			}, "two", ""},
		} {
			c.change()
			pass(time.Second)
			got := s.last(t)
			if got.Config.Pools[0].Name != c.pool || !strings.Contains(got.ConfigProblem, c.problem) || (c.problem == "") != (got.ConfigProblem == "") {
				t.Errorf("%s: pool %s, problem %q", c.name, got.Config.Pools[0].Name, got.ConfigProblem)
			}
		}
		if got := s.last(t).Services; len(got) != 0 {
			t.Errorf("class-less Services are still served: %+v", got)
		}
	})
}

func TestSourceGoesOnWithoutTheAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		state := NewState(slog.New(slog.DiscardHandler), t.TempDir())
		stop := s.start(t, state)
		pass(time.Second)
		before := s.last(t)
		for _, k := range s.all() {
			k.setAway(true)
		}
		pass(5 * time.Minute)
		if s.last(t) != before {
			t.Errorf("the outage changed what is known: %+v", s.last(t))
		}
		stop()

		// A restart during the outage.
		count := s.count()
		defer s.start(t, state)()
		pass(patience - time.Millisecond)
		if s.count() != count {
			t.Error("the saved state was used before the API server had its time")
		}
		pass(time.Second)
		saved := s.last(t)
		if saved.Freshness != announce.Saved {
			t.Fatalf("freshness %v", saved.Freshness)
		}
		if diff := cmp.Diff(before.Services, saved.Services, cmpOptions); diff != "" {
			t.Errorf("services (-before +saved):\n%s", diff)
		}
		if saved.Hash != before.Hash || saved.Generation != 1 || saved.Config.Pools[0].Name != "one" || len(saved.Nodes) != 1 {
			t.Errorf("saved: %+v", saved)
		}

		for _, k := range s.all() {
			k.setAway(false)
		}
		pass(10 * time.Second)
		if got := s.last(t); got.Freshness != announce.Live || len(got.Services) != 1 {
			t.Errorf("after the outage: %+v", got)
		}
	})
}

func TestSourceWithoutAnySavedStateWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		s.nodes.setAway(true)
		defer s.start(t, NewState(slog.New(slog.DiscardHandler), t.TempDir()))()
		pass(time.Minute)
		if s.count() != 0 {
			t.Errorf("delivered although nodes were never listed: %+v", s.last(t))
		}
		s.nodes.setAway(false)
		pass(10 * time.Second)
		if s.last(t).Freshness != announce.Live {
			t.Error("not live when all is listed")
		}
	})
}

func TestLoadRefusesWhatItDidNotSave(t *testing.T) {
	dir := t.TempDir()
	state := NewState(slog.New(slog.DiscardHandler), dir)
	for name, c := range map[string]struct{ content, want string }{
		"garbage":       {"{", "unexpected end"},
		"other version": {`{"Version": 99}`, "version 99"},
		"other hash":    {`{"Version": 1, "Document": "a: 1"}`, "hash"},
		"no document":   {`{"Version": 1}`, ""},
	} {
		if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := state.load()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Truncate(filepath.Join(dir, stateFile), maxState+1); err != nil {
		t.Fatal(err)
	}
	if _, err := state.load(); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a huge file: %v", err)
	}
}

func FuzzDecodeState(f *testing.F) {
	f.Add([]byte(`{"Version": 1, "Document": "a: 1", "Cluster": {"Services": [{"Addresses": ["10.0.0.1"]}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if in, err := decodeState(data); err == nil && in.Cluster.Freshness != announce.Saved {
			t.Error("what was saved claims to be live")
		}
	})
}

func TestTableRefusesOtherKinds(t *testing.T) {
	table := newTable(convertNode, func() {})
	if table.Add(&corev1.Pod{}) == nil || table.Replace([]any{&corev1.Pod{}}, "") == nil {
		t.Error("a Pod was taken for a Node")
	}
	if table.Resync() != nil || table.hasSynced() {
		t.Error("a table is synced only when it was replaced")
	}
}
