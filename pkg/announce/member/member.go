package member

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// DefaultPort is the UDP and TCP port of members.
const DefaultPort = 7946

const (
	publishEvery  = 100 * time.Millisecond
	updateTimeout = 500 * time.Millisecond
	leaveTimeout  = time.Second
	// drainingShown is how long all others take to hear that it is leaving.
	// The goodbye takes the place of that news where it hasn't got through.
	drainingShown = 100 * time.Millisecond
	// leaveLinger is how long a member stays after its goodbye, which by
	// then only the first of the others have heard.
	leaveLinger = 250 * time.Millisecond
)

// Options is what a Member is made of.
type Options struct {
	Name    string     // the node's name
	Address netip.Addr // the node's address, one of the host's own
	Port    uint16     // the same on all nodes; 0 is DefaultPort
	Cluster string     // tells clusters that share a key apart, the same on all nodes
	KeyDir  string     // where the Secret is mounted
	Secret  string     // the Secret's namespace/name, for messages
	// Peers is what SetPeers would be given. Their number at the start
	// chooses memberlist's settings.
	Peers   []netip.Addr
	Logger  *slog.Logger // nil: nothing is logged
	Metrics *Metrics     // nil: nobody sees them
}

// Member is this node's membership. Its methods may be called from any
// goroutine, before Run and during it.
type Member struct {
	options   Options
	log       *slog.Logger
	session   session
	transport *transport
	views     chan View
	mail      mailbox
	encoded   atomic.Pointer[[]byte] // the metadata to show
	changed   chan struct{}          // the metadata isn't shown yet
	places    atomic.Pointer[places]

	mu      sync.Mutex // guards the fields below
	local   Local
	ring    *keyring
	wanted  Keys
	waiting time.Time // since when the wanted primary key isn't in use; zero if it is
}

// places is where members are.
type places struct{ known, alive []netip.Addr }

// event is something that happened, as what it does to the core.
type event func(c *core, now time.Time)

// New checks the options and reads the keys. It starts nothing.
func New(o Options) (*Member, error) {
	if o.Port == 0 {
		o.Port = DefaultPort
	}
	if !validName(o.Name) {
		return nil, fmt.Errorf("node name %q isn't one that Kubernetes gives: set HERALD_NODE_NAME from spec.nodeName", o.Name)
	}
	if !o.Address.IsValid() || o.Address.IsUnspecified() {
		return nil, fmt.Errorf("node %s has no address to be a member with: set HERALD_HOST_IP from status.hostIP", o.Name)
	}
	o.Address = o.Address.Unmap()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	keys, err := ReadKeys(o.KeyDir, o.Secret)
	if err != nil {
		return nil, err
	}
	var random [8]byte
	rand.Read(random[:])
	s := session(binary.BigEndian.Uint64(random[:]))
	ring := &keyring{primary: keys.Primary, held: keys.all()}
	m := &Member{
		options: o, log: o.Logger, session: s, transport: newTransport(o, s, ring, o.Metrics),
		views: make(chan View, 1), mail: mailbox{ready: make(chan struct{}, 1)}, changed: make(chan struct{}, 1),
		ring: ring, wanted: keys,
	}
	m.transport.fast = m.fastPacket
	m.places.Store(&places{})
	m.SetPeers(o.Peers)
	m.show()
	return m, nil
}

// Publish replaces what this node says of itself. Others hear of it within
// some 100 ms.
func (m *Member) Publish(l Local) {
	l.Links = slices.Clone(l.Links)
	m.mu.Lock()
	m.local = l
	m.mu.Unlock()
	m.show()
	m.mail.post(func(c *core, _ time.Time) { c.setLocal(l) })
}

// SetPeers replaces the addresses of the nodes that should be members, as far
// as the API says or said. Those of the other family than the own address are
// passed over. Only peers, and members, are listened to; until there are any,
// everybody with the key is.
func (m *Member) SetPeers(peers []netip.Addr) {
	var reachable []netip.Addr
	for _, p := range peers {
		if p = p.Unmap(); p.Is4() == m.options.Address.Is4() {
			reachable = append(reachable, p)
		}
	}
	m.mail.post(func(c *core, now time.Time) { c.setPeers(now, reachable) })
}

// SetKeys replaces the keys, as a changed Secret does by itself. They come
// into use by and by, so that no member loses another.
func (m *Member) SetKeys(k Keys) {
	m.mu.Lock()
	m.wanted = k
	m.mu.Unlock()
	m.mail.post(func(c *core, now time.Time) { m.rotateKeys(c, now) })
}

// Views returns the channel on which each change comes as a whole View. It
// holds the latest only: who reads slowly misses what is over.
func (m *Member) Views() <-chan View { return m.views }

// show encodes the metadata and has it told.
func (m *Member) show() {
	m.mu.Lock()
	meta := meta{session: m.session, ready: m.local.Ready, draining: m.local.Draining, config: m.local.ConfigHash,
		keys: shownKeys{held: m.ring.ids(), primary: m.ring.primary.id}, links: m.local.Links}
	b, left := meta.encode()
	old := m.encoded.Swap(&b)
	m.mu.Unlock()
	if old != nil && slices.Equal(*old, b) {
		return
	}
	if left > 0 {
		m.log.Warn("Other members aren't told of all links: there is no room for more", "links", left)
	}
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Run is a member until the context ends. Then it says goodbye, which takes
// about half a second, and returns nil.
func (m *Member) Run(ctx context.Context) error {
	if err := m.transport.open(); err != nil {
		return err
	}
	c := newCore(m.options.Name, m.options.Address, m.session, time.Now())
	m.mail.handle(c, time.Now())
	m.admit(c)
	pinger := newPinger(m.transport, m.mail.post)
	config := gossipConfig(m.options.Name, len(c.peers)+1, m.transport)
	config.Logger = newLogBridge(m.log)
	d := &delegate{m: m}
	config.Delegate, config.Events, config.Alive, config.Conflict = d, d, d, d
	list, err := memberlist.Create(config)
	if err != nil {
		m.transport.Shutdown()
		return fmt.Errorf("starting the membership of node %s: %w", m.options.Name, err)
	}
	inner, cancel := context.WithCancel(context.Background())
	var publishing, wg sync.WaitGroup
	publishing.Go(func() { m.publish(inner, list) })
	wg.Go(func() { m.rejoin(inner, list) })
	wg.Go(func() { m.watchKeys(inner) })
	m.loop(ctx, c, pinger)
	cancel()
	publishing.Wait() // of two updates, the later one would cut the earlier one's spreading short
	m.leave(list)
	err = list.Shutdown()
	pinger.close()
	wg.Wait()
	return err
}

// loop is the only user of the core.
func (m *Member) loop(ctx context.Context, c *core, p *pinger) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var shown View
	var version, watched uint64
	var keysChecked time.Time
	for {
		now := time.Now()
		m.mail.handle(c, now)
		c.advance(now)
		m.carryOut(ctx, c, p)
		if c.version != version {
			version = c.version
			if v := c.view(); !v.equal(shown) {
				shown = v
				m.options.Metrics.show(v)
				m.deliver(v)
			}
			known, alive := c.addresses()
			m.places.Store(&places{known, alive})
			m.admit(c)
			keysChecked = time.Time{}
		}
		if c.version != watched || p.lacks() {
			watched = c.version
			p.watch(c.watched())
		}
		if now.Sub(keysChecked) >= time.Second {
			keysChecked = now
			m.rotateKeys(c, now)
		}
		timer.Reset(time.Until(c.next()))
		select {
		case <-ctx.Done():
			return
		case <-m.mail.ready:
		case <-timer.C:
		}
	}
}

// deliver puts a view in the place of one that nobody took.
func (m *Member) deliver(v View) {
	select {
	case <-m.views:
	default:
	}
	m.views <- v
}

// admit tells the transport who may knock.
func (m *Member) admit(c *core) {
	if len(c.peers) == 0 {
		return
	}
	known := map[netip.Addr]struct{}{m.options.Address: {}}
	for p := range c.peers {
		known[p] = struct{}{}
	}
	for _, n := range c.nodes {
		known[n.addr] = struct{}{}
	}
	m.transport.gate.admit(known)
}

// carryOut does what the core wants done.
func (m *Member) carryOut(ctx context.Context, c *core, p *pinger) {
	o := c.take()
	for _, x := range o.pings {
		p.ping(x)
	}
	for _, x := range o.connects {
		if n := c.nodes[x.target]; n != nil {
			p.connect(ctx, x, n.addr)
		}
	}
	for _, x := range o.tells {
		_ = m.transport.send(kindOpinion, x.message.encode(), netip.AddrPortFrom(x.addr, m.options.Port))
	}
	for _, x := range o.notes {
		m.report(x)
	}
}

// fastPacket takes a packet of the fast path, on the transport's goroutine.
func (m *Member) fastPacket(p packet, from netip.AddrPort) {
	metrics := m.options.Metrics
	switch p.kind {
	case kindPing:
		a, r := answer(p)
		if r != "" {
			metrics.refuse(r)
			return
		}
		_ = m.transport.send(kindEcho, a, from)
	case kindOpinion:
		o, err := decodeOpinion(p.plain)
		if err != nil {
			metrics.refuse(refusedMalformed)
			return
		}
		m.mail.post(func(c *core, now time.Time) {
			if r := c.heard(now, p.session, o); r != "" {
				metrics.refuse(r)
			}
		})
	default:
		metrics.refuse(refusedMalformed)
	}
}

// publish shows the metadata whenever it changed, at most every 100 ms.
func (m *Member) publish(ctx context.Context, list *memberlist.Memberlist) {
	ticker := time.NewTicker(publishEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.changed:
		}
		if err := list.UpdateNode(updateTimeout); err != nil {
			m.log.Warn("Nobody took this node's news yet, they are repeated to whom it meets", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// leave says goodbye: draining first, because memberlist doesn't tell others
// a goodbye from a death.
func (m *Member) leave(list *memberlist.Memberlist) {
	m.mu.Lock()
	m.local.Draining = true
	m.mu.Unlock()
	m.show()
	if list.NumMembers() == 1 {
		return // nobody listens
	}
	err := list.UpdateNode(updateTimeout)
	<-time.After(drainingShown)
	if err = errors.Join(err, list.Leave(leaveTimeout)); err != nil {
		m.log.Warn("Nobody heard this node's goodbye, others will find it gone", "err", err)
	}
	<-time.After(leaveLinger)
}
