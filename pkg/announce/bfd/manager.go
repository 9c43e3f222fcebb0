package bfd

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options is what a Manager needs.
type Options struct {
	Logger *slog.Logger

	// Notify is told of each change of a session's status, from the goroutine
	// of Run. It must not block.
	Notify func(Status)
}

// Manager holds the BFD sessions of a node.
type Manager struct {
	log     *slog.Logger
	notify  func(Status)
	network network
	rand    *rand.Rand
	changed chan struct{} // capacity 1
	packets chan received
	peers   atomic.Pointer[peers] // read by the sockets' goroutines
	counts  counts

	mu       sync.Mutex // guards the fields below
	desired  map[string]SessionConfig
	statuses map[string]Status
}

// network opens what a session sends and receives by. Sockets implement it.
type network interface {
	open(SessionConfig, func(datagram)) (link, netip.Addr, error)
}

// link is a session's way to the other side. The sockets that receive are
// shared by sessions.
type link interface {
	send([]byte) error
	close()
}

// datagram is a UDP payload that came to one of our ports.
type datagram struct {
	endpoint endpoint // peer: its source
	ttl      int
	payload  []byte // valid during the call only
}

// received is a datagram that has passed the checks which need no session.
type received struct {
	endpoint endpoint
	packet   Packet
}

// peers maps who may send packets to the terms on which they are taken.
type peers map[endpoint]*terms

type terms struct {
	least int          // TTL that packets must have
	seen  atomic.Int32 // TTL of the last packet that had less; 0: none did
}

// New returns a Manager that does nothing until Run.
func New(o Options) *Manager {
	m := &Manager{
		log: o.Logger, notify: o.Notify, network: newSockets(),
		rand:    rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		changed: make(chan struct{}, 1),
		packets: make(chan received, 256),
	}
	if m.notify == nil {
		m.notify = func(Status) {}
	}
	m.peers.Store(&peers{})
	return m
}

// Apply replaces the sessions that are wanted, by keys of the caller's. It
// returns at once; equal calls do nothing. A session that is not wanted any
// more is shut down, which the other side does not take for a broken path. A
// change of intervals keeps the session. Keys that want a session between the
// same addresses share one, with the settings of the first of them by name.
func (m *Manager) Apply(desired map[string]SessionConfig) {
	m.mu.Lock()
	m.desired = maps.Clone(desired)
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// States returns the status of each session, by key.
func (m *Manager) States() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.statuses), func(a, b Status) int { return cmp.Compare(a.Key, b.Key) })
}

// Run works until ctx is cancelled. It then tells the other sides that the
// sessions end by intent, which takes at most half a second, and returns when
// all sockets are closed.
func (m *Manager) Run(ctx context.Context) error {
	l := loop{Manager: m, sessions: map[identity]*session{}, leaving: map[*session]bool{}}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if at, ok := l.deadline(); ok {
			timer.Reset(time.Until(at))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			l.finish()
			return nil
		case <-m.changed:
			l.reconcile(time.Now())
		case p := <-m.packets:
			l.take(p, time.Now())
		case <-timer.C:
		}
		l.drain() // what came before a detection time ran out counts
		l.tick(time.Now())
	}
}

// loop is what Run's goroutine owns.
type loop struct {
	*Manager
	sessions map[identity]*session
	leaving  map[*session]bool
}

// all are the sessions, and those on their way out.
func (l *loop) all() []*session {
	return slices.AppendSeq(slices.Collect(maps.Keys(l.leaving)), maps.Values(l.sessions))
}

func (l *loop) deadline() (time.Time, bool) {
	var first time.Time
	for _, s := range l.all() {
		if at, ok := s.deadline(); ok && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first, !first.IsZero()
}

// finish says goodbye to all and waits until that is done.
func (l *loop) finish() {
	now := time.Now()
	for _, s := range l.sessions {
		l.dismiss(s, now)
	}
	for len(l.leaving) > 0 {
		at, _ := l.deadline()
		time.Sleep(time.Until(at))
		l.tick(time.Now())
	}
}

func (l *loop) dismiss(s *session, now time.Time) {
	delete(l.sessions, s.config.identity())
	if s.link == nil {
		return
	}
	s.leave(now)
	l.leaving[s] = true
}

// wanted is a session as the desired keys want it.
type wanted struct {
	config SessionConfig
	keys   []string // sorted
}

// reconcile makes the sessions those that are desired.
func (l *loop) reconcile(now time.Time) {
	l.mu.Lock()
	desired := l.desired
	maps.DeleteFunc(l.statuses, func(key string, _ Status) bool { _, ok := desired[key]; return !ok })
	l.mu.Unlock()
	want := map[identity]wanted{}
	for _, key := range slices.Sorted(maps.Keys(desired)) {
		c := desired[key]
		w, shared := want[c.identity()]
		if !shared {
			w.config = c
		}
		w.keys = append(w.keys, key)
		want[c.identity()] = w
	}
	for id, s := range l.sessions {
		if w, ok := want[id]; !ok || !s.becomes(w.config) {
			l.dismiss(s, now)
		}
	}
	for id, w := range want {
		s := l.sessions[id]
		if s == nil {
			s = l.create(w.config, now)
			l.sessions[id] = s
		}
		if w.config != s.config {
			s.config = w.config
			s.machine.reconfigure(w.config.timing(), now)
		}
		if !slices.Equal(s.keys, w.keys) {
			s.keys = w.keys
			s.refresh(now)
			l.tell(s)
		}
	}
	l.admit()
}

// becomes reports whether a session can go on under another configuration.
func (s *session) becomes(c SessionConfig) bool {
	return c.Validate() == nil && c.Passive == s.config.Passive
}

func (l *loop) create(c SessionConfig, now time.Time) *session {
	m := newMachine(l.discriminator(), c.timing(), l.rand)
	m.passive = c.Passive
	return &session{config: c, machine: m, retry: now, status: Status{State: Down, Since: now}}
}

// discriminator is a number that no other session of the node has. It is not
// to be guessed: it is all that tells a packet of the peer's from a forged one.
func (l *loop) discriminator() uint32 {
	for {
		d := rand.Uint32()
		if d != 0 && l.find(d) == nil {
			return d
		}
	}
}

func (l *loop) find(discriminator uint32) *session {
	for _, s := range l.sessions {
		if s.machine.my == discriminator {
			return s
		}
	}
	return nil
}

// admit tells the sockets from whom packets are wanted.
func (l *loop) admit() {
	p := peers{}
	for _, s := range l.sessions {
		if s.link == nil {
			continue
		}
		least := 255
		if s.config.Multihop {
			least = int(s.config.MinimumTTL)
		}
		if s.terms == nil || s.terms.least != least {
			s.terms = &terms{least: least}
		}
		p[s.endpoint] = s.terms
	}
	l.peers.Store(&p)
}

// reopen is how long after a failure to open or to send a session tries again.
const reopen = time.Second

// tick does what the clock asks for.
func (l *loop) tick(now time.Time) {
	for _, s := range l.all() {
		if s.goodbye != nil {
			l.sayGoodbye(s, now)
			continue
		}
		if s.link == nil && !now.Before(s.retry) {
			l.open(s, now)
		}
		if p := s.machine.due(now); p != nil && s.link != nil {
			l.send(s, *p, now)
		}
		l.publish(s, now)
	}
}

func (l *loop) sayGoodbye(s *session, now time.Time) {
	if now.Before(s.goodbye.next) {
		return
	}
	s.link.send(s.goodbye.packet.Append(nil)) // the last words: nothing to be done if they fail
	s.goodbye.left--
	s.goodbye.next = now.Add(s.goodbye.every)
	if s.goodbye.left == 0 {
		s.link.close()
		delete(l.leaving, s)
	}
}

func (l *loop) open(s *session, now time.Time) {
	err := s.config.Validate()
	if err == nil {
		var local netip.Addr
		if s.link, local, err = l.network.open(s.config, l.deliver); err == nil {
			s.endpoint = endpoint{s.config.Peer, local, s.config.Multihop}
			s.problem = ""
			l.admit()
			return
		}
	}
	s.problem, s.retry = err.Error(), now.Add(reopen)
}

func (l *loop) send(s *session, p Packet, now time.Time) {
	if err := s.link.send(p.Append(make([]byte, 0, packetLen))); err != nil {
		// The address may have gone, or the route changed: begin anew, but let
		// the detection time run.
		l.counts.failed.Add(1)
		s.link.close()
		s.link, s.problem, s.retry = nil, err.Error(), now.Add(reopen)
		l.admit()
		return
	}
	l.counts.sent.Add(1)
}

// drain takes all packets that have been received.
func (l *loop) drain() {
	for {
		select {
		case p := <-l.packets:
			l.take(p, time.Now())
		default:
			return
		}
	}
}

// take gives a packet to its session (RFC 5880, section 6.8.6; RFC 5881,
// section 3).
func (l *loop) take(r received, now time.Time) {
	var s *session
	if r.packet.Your != 0 {
		s = l.find(r.packet.Your)
	} else {
		for _, other := range l.sessions {
			if other.endpoint == r.endpoint {
				s = other
			}
		}
	}
	if s == nil || s.endpoint != r.endpoint || s.link == nil {
		l.counts.reject(RejectDiscriminator)
		return
	}
	l.counts.received.Add(1)
	if answer := s.machine.receive(r.packet, now); answer != nil {
		l.send(s, *answer, now)
	}
	l.publish(s, now)
}

// publish keeps the status, and tells others what has changed.
func (l *loop) publish(s *session, now time.Time) {
	was := s.status.State
	if !s.refresh(now) {
		l.keep(s)
		return
	}
	if s.status.State != was && (was == Up || s.status.State == Up) {
		l.log.Info("BFD session has changed", "peer", s.keys[0], "state", s.status.State.String(), "reason", s.status.Reason)
	}
	l.tell(s)
}

func (l *loop) keep(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.statuses == nil {
		l.statuses = map[string]Status{}
	}
	for _, key := range s.keys {
		st := s.status
		st.Key = key
		l.statuses[key] = st
	}
}

func (l *loop) tell(s *session) {
	l.keep(s)
	for _, key := range s.keys {
		st := s.status
		st.Key = key
		l.notify(st)
	}
}

// deliver is called by the goroutines that read from sockets.
func (m *Manager) deliver(d datagram) {
	p, reject := m.examine(d)
	if reject == "" {
		select {
		case m.packets <- received{d.endpoint, p}:
			return
		default:
			reject = RejectRate
		}
	}
	m.counts.reject(reject)
}

// examine makes the checks that need no session, the cheapest first.
func (m *Manager) examine(d datagram) (Packet, Reject) {
	t, known := (*m.peers.Load())[d.endpoint]
	switch {
	case !known:
		return Packet{}, RejectSource
	case d.ttl < t.least:
		t.seen.Store(int32(d.ttl))
		return Packet{}, RejectTTL
	}
	return ParsePacket(d.payload)
}
