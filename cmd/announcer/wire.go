package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/announce/agent"
	"github.com/herald-lb/herald/pkg/announce/kube"
	"github.com/herald-lb/herald/pkg/announce/layer2"
	"github.com/herald-lb/herald/pkg/announce/link"
	"github.com/herald-lb/herald/pkg/announce/member"
)

// keySecret is the Secret with the members' keys, in Herald's namespace.
const keySecret = "memberlist"

// parts are what the program is made of.
type parts struct {
	agent    *agent.Agent
	member   *member.Member
	speaker  *layer2.Speaker
	routers  *routers
	layer2   *layer2Adapter
	links    *link.Watcher
	source   *kube.Source
	recorder *kube.Recorder
	http     *httpServer
}

// serve runs the program until ctx ends.
func serve(ctx context.Context, o *options, log *slog.Logger) error {
	p, err := assemble(o, log)
	if err != nil {
		return err
	}
	return p.run(ctx)
}

// assemble makes all parts and connects them. It starts nothing.
func assemble(o *options, log *slog.Logger) (*parts, error) {
	if err := (layer2.Sockets{}).Check(); err != nil {
		return nil, fmt.Errorf("%w: add NET_RAW to the container's capabilities", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	agentMetrics, memberMetrics, layer2Metrics := agent.NewMetrics(), member.NewMetrics(), layer2.NewMetrics()
	agentMetrics.Register(registry)
	registry.MustRegister(memberMetrics, layer2Metrics)

	clients, err := connect(o)
	if err != nil {
		return nil, err
	}
	p := &parts{links: link.New(log), recorder: clients.Recorder(log, o.nodeName)}
	p.member, err = member.New(member.Options{
		Name: o.nodeName, Address: o.hostIP, Port: o.memberPort, Cluster: o.namespace,
		KeyDir: o.keyDir, Secret: o.namespace + "/" + keySecret, Logger: log, Metrics: memberMetrics,
	})
	if err != nil {
		return nil, err
	}
	p.speaker = layer2.New(layer2.Config{
		Self: o.nodeName, Opener: layer2.Sockets{}, Groups: layer2.NewJoinedGroups(), Outranks: announce.Outranks,
		Log: log, Metrics: layer2Metrics,
	})
	p.layer2 = &layer2Adapter{speaker: p.speaker}
	p.routers = newRouters(log)
	registry.MustRegister(p.routers.speaker, p.routers.bfd)
	p.agent = agent.New(agent.Options{
		Node: o.nodeName, Layer2: p.layer2, BGP: p.routers, Membership: membership{p.member}, Recorder: recorder{p.recorder},
		Log: log, Metrics: agentMetrics,
	})
	p.routers.changed = p.agent.Wake
	var state *kube.State
	if o.stateDir != "" {
		state = kube.NewState(log, o.stateDir)
	}
	p.source = kube.NewSource(log, clients.Feeds(o.namespace, o.podSelector), state, p.seeCluster(o.nodeName, o.hostIP))
	p.http = newHTTPServer(o.hostIP, o.httpPort, p.agent, registry)
	return p, nil
}

// connect returns clients for the API server.
func connect(o *options) (*kube.Clients, error) {
	var c *rest.Config
	var err error
	if o.kubeconfig != "" {
		c, err = clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	} else {
		c, err = rest.InClusterConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("how to reach the API server: %w", err)
	}
	c.UserAgent = "herald-announcer/" + version
	return kube.NewClients(c)
}

// seeCluster returns what hands a Cluster to all who need it.
func (p *parts) seeCluster(self string, host netip.Addr) func(*announce.Cluster) {
	return func(c *announce.Cluster) {
		p.member.SetPeers(peers(c.Announcers, self, host))
		p.agent.SetCluster(c)
	}
}

// run runs all parts until ctx ends. The agent stops first: until other nodes
// have taken its addresses over, it needs the rest at work. BGP is next, before
// BFD, whose end some routers take for a broken path.
func (p *parts) run(ctx context.Context) error {
	base, stop := context.WithCancel(context.Background())
	defer stop()
	group, running := errgroup.WithContext(base)
	speaking, quit := context.WithCancel(running)
	defer quit()
	silent := make(chan struct{})
	group.Go(func() error {
		defer close(silent)
		return p.routers.speaker.Run(speaking)
	})
	for _, run := range []func(context.Context) error{
		p.http.Run, p.source.Run, p.recorder.Run, p.member.Run, p.speaker.Run, p.routers.bfd.Run, p.watchLinks, p.followMembers, p.followSpeaker,
	} {
		group.Go(func() error { return run(running) })
	}
	group.Go(func() error {
		defer stop()
		agentCtx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(running, cancel)()
		err := p.agent.Run(agentCtx)
		quit()
		<-silent
		return err
	})
	return group.Wait()
}

func (p *parts) watchLinks(ctx context.Context) error {
	return p.links.Run(ctx, func(s link.Snapshot) {
		p.layer2.setGateways(s.Gateways)
		p.agent.SetLinks(s.Links)
	})
}

func (p *parts) followMembers(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case v := <-p.member.Views():
			p.agent.SetMembers(translateView(v))
		}
	}
}

// followSpeaker ends when the speaker does.
func (p *parts) followSpeaker(context.Context) error {
	for e := range p.speaker.Events() {
		p.agent.Observe(observation(e))
	}
	return nil
}

// membership lets the agent speak to the members.
type membership struct{ *member.Member }

func (m membership) Publish(l agent.Local) { m.Member.Publish(member.Local(l)) }

// recorder lets the agent write Events.
type recorder struct{ *kube.Recorder }

func (r recorder) Record(n agent.Notice) { r.Recorder.Record(kube.Notice(n)) }
