package kube

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/config"
)

const (
	// coalesce is how long a change waits for others before all are handed
	// over together. In large clusters, where that takes long, it is paced so
	// that it keeps a processor busy for a quarter of the time at most.
	coalesce = 10 * time.Millisecond
	pace     = 3
	// patience is how long the API server may take to answer before the state
	// of the last run is used instead.
	patience = 3 * time.Second
)

// retry bounds how long an API server that came back goes unnoticed.
var retry = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 6, Cap: 5 * time.Second}

// Source keeps up with the API server and delivers a whole announce.Cluster
// after each change that matters.
type Source struct {
	log     *slog.Logger
	feeds   Feeds
	state   *State
	deliver func(*announce.Cluster)
	dirty   chan struct{} // holds one: look again

	services *table[*corev1.Service, service]
	slices   *table[*discoveryv1.EndpointSlice, endpoints]
	nodes    *table[*corev1.Node, announce.Node]
	config   *table[*corev1.ConfigMap, document]
	pods     *table[*corev1.Pod, announcer]
	secrets  *secrets

	// Only the goroutine of Run uses the fields below.
	accepted accepted
}

// accepted is the configuration that is in force.
type accepted struct {
	config    *config.Config
	document  document
	problem   string // why it is not the one that the API server shows
	seen      document
	classless bool
}

// NewSource returns a Source that reads feeds and calls deliver, from one
// goroutine, which must not block. State may be nil: then nothing survives a
// restart.
func NewSource(log *slog.Logger, feeds Feeds, state *State, deliver func(*announce.Cluster)) *Source {
	s := &Source{log: log, feeds: feeds, state: state, deliver: deliver, dirty: make(chan struct{}, 1)}
	s.services = newTable(convertService, s.wake)
	s.slices = newTable(convertSlice, s.wake)
	s.nodes = newTable(convertNode, s.wake)
	s.config = newTable(convertDocument, s.wake)
	s.pods = newTable(convertPod, s.wake)
	s.secrets = newSecrets(log, feeds.Secret, s.wake)
	return s
}

func (s *Source) wake() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// Run reads until ctx ends and then returns nil.
func (s *Source) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	defer s.secrets.running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, f := range []struct {
		kind  any
		name  string
		from  cache.ListerWatcher
		store cache.ReflectorStore
	}{
		{&corev1.Service{}, "services", s.feeds.Services, s.services},
		{&discoveryv1.EndpointSlice{}, "endpointslices", s.feeds.EndpointSlices, s.slices},
		{&corev1.Node{}, "nodes", s.feeds.Nodes, s.nodes},
		{&corev1.ConfigMap{}, "config", s.feeds.Config, s.config},
		{&corev1.Pod{}, "pods", s.feeds.Pods, s.pods},
	} {
		backoff := retry
		r := cache.NewReflectorWithOptions(f.from, f.kind, f.store, cache.ReflectorOptions{Name: f.name, Backoff: &backoff})
		running.Go(func() { r.RunWithContext(ctx) })
	}
	if s.state != nil {
		running.Go(func() { s.state.run(ctx) })
	}
	s.follow(ctx)
	return nil
}

// follow hands over a Cluster whenever something changed.
func (s *Source) follow(ctx context.Context) {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-late.C:
			s.fallBack()
			continue
		case <-s.dirty:
		}
		if !s.synced() {
			continue
		}
		late.Stop()
		began := time.Now()
		c := s.assemble(ctx)
		s.deliver(c)
		if s.state != nil {
			s.state.save(c, s.accepted.document.text)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(coalesce, pace*time.Since(began))):
		}
	}
}

func (s *Source) synced() bool {
	return s.services.hasSynced() && s.slices.hasSynced() && s.nodes.hasSynced() && s.config.hasSynced() && s.pods.hasSynced()
}

// fallBack delivers the state of the last run, if there is any.
func (s *Source) fallBack() {
	if s.state == nil || s.synced() {
		return
	}
	last, err := s.state.load()
	if err != nil {
		s.log.Warn("the API server does not answer, and there is no state of an earlier run to serve from", "err", err)
		return
	}
	s.log.Warn("the API server does not answer: serving from the state of an earlier run", "saved", last.At, "services", len(last.Cluster.Services))
	c := &last.Cluster
	s.secrets.restore(c.Passwords)
	s.accepted.config = c.Config
	s.accepted.document = document{text: last.Document, hash: c.Hash, generation: c.Generation}
	s.deliver(c)
}

// assemble builds the Cluster that the tables show. Secrets that it needs are
// read from now on.
func (s *Source) assemble(ctx context.Context) *announce.Cluster {
	s.config.read(func(items map[string]document) {
		for _, d := range items {
			s.adopt(d)
		}
	})
	s.secrets.follow(ctx, s.accepted.config)
	c := &announce.Cluster{
		Freshness: announce.Live, Passwords: s.secrets.read(),
		Config: s.accepted.config, Hash: s.accepted.document.hash, Generation: s.accepted.document.generation,
		ConfigProblem: s.accepted.problem,
	}
	s.nodes.read(func(items map[string]announce.Node) { c.Nodes = maps.Clone(items) })
	s.pods.read(func(items map[string]announcer) { c.Announcers = assembleAnnouncers(items, c.Nodes) })
	var merged map[string]endpoints
	s.slices.read(func(items map[string]endpoints) { merged = merge(items) })
	s.services.read(func(items map[string]service) {
		c.Services = assembleServices(items, s.accepted.classless, merged)
	})
	return c
}

// adopt takes the document that the API server shows into force. One that this
// program can not apply leaves the one before in force; so does a ConfigMap
// that is gone.
func (s *Source) adopt(d document) {
	if d == s.accepted.seen {
		return
	}
	s.accepted.seen, s.accepted.problem = d, d.problem
	if d.problem == "" {
		c, err := config.Parse([]byte(d.text))
		if err != nil {
			s.accepted.problem = fmt.Sprintf("ConfigMap %s, generation %d: %v", AcceptedConfig, d.generation, err)
		} else {
			s.accepted.config, s.accepted.document, s.accepted.classless = c, d, d.classless
			s.log.Info("configuration in force", "generation", d.generation, "pools", len(c.Pools), "peers", len(c.Peers))
		}
	}
	if s.accepted.problem != "" {
		s.log.Error("the accepted configuration can not be applied here; the one before stays in force",
			"generation", s.accepted.document.generation, "err", s.accepted.problem)
	}
}
