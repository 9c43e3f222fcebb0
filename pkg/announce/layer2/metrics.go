package layer2

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the speaker's collectors. It is itself one.
type Metrics struct {
	received      *prometheus.CounterVec // link, family, kind
	malformed     *prometheus.CounterVec // link, family, reason
	replies       *prometheus.CounterVec // link, family
	suppressed    *prometheus.CounterVec // link, family
	announcements *prometheus.CounterVec // link, family
	probes        *prometheus.CounterVec // link, family
	claims        *prometheus.CounterVec // link, family, from
	drops         *prometheus.CounterVec // link, family
	errors        *prometheus.CounterVec // link, family, operation
	events        *prometheus.CounterVec // event
	addresses     *prometheus.GaugeVec   // state
	conflicts     prometheus.Gauge
	overrun       prometheus.Counter
}

// NewMetrics returns collectors that are not registered anywhere.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "herald", Subsystem: "layer2", Name: name, Help: help,
		}, labels)
	}
	return &Metrics{
		received:      counter("received_total", "Frames that passed the socket's filter, by what they were; unassigned: they asked for an address of a pool that no Service has.", "link", "family", "kind"),
		malformed:     counter("malformed_total", "Received frames that were refused, by reason.", "link", "family", "reason"),
		replies:       counter("replies_total", "Requests answered.", "link", "family"),
		suppressed:    counter("replies_suppressed_total", "Requests not answered because one client repeated them too fast.", "link", "family"),
		announcements: counter("announcements_total", "Gratuitous ARP frames and unsolicited neighbour advertisements sent.", "link", "family"),
		probes:        counter("probes_total", "Probes sent, to find out who else answers for an address.", "link", "family"),
		claims:        counter("claims_total", "Frames by which somebody else used an address of the plan, by whose they were: member, stranger or router (proxy ARP).", "link", "family", "from"),
		drops:         counter("socket_drops_total", "Frames the kernel dropped because the socket's buffer was full.", "link", "family"),
		errors:        counter("socket_errors_total", "Failed socket operations.", "link", "family", "operation"),
		events:        counter("events_total", "Changes of who answers, by kind.", "event"),
		addresses: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "herald", Subsystem: "layer2", Name: "addresses", Help: "Addresses of the plan, by what this node does about them.",
		}, []string{"state"}),
		conflicts: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "herald", Subsystem: "layer2", Name: "conflicts", Help: "Addresses that this node announces and a stranger uses too.",
		}),
		overrun: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "herald", Subsystem: "layer2", Name: "claims_overrun_total", Help: "Claims that came faster than they could be judged and were dropped.",
		}),
	}
}

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.received, m.malformed, m.replies, m.suppressed, m.announcements, m.probes, m.claims,
		m.drops, m.errors, m.events, m.addresses, m.conflicts, m.overrun}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

// portMetrics are the counters of one link and family, looked up once so that
// the read loop doesn't.
type portMetrics struct {
	received                                          [sightingKinds]prometheus.Counter
	malformed                                         map[malformed]prometheus.Counter
	replies, suppressed, announcements, probes, drops prometheus.Counter
	member, stranger, router                          prometheus.Counter
	readErrors, writeErrors                           prometheus.Counter
}

func (m *Metrics) port(link string, f Family) *portMetrics {
	family := f.String()
	p := &portMetrics{
		malformed:     make(map[malformed]prometheus.Counter),
		replies:       m.replies.WithLabelValues(link, family),
		suppressed:    m.suppressed.WithLabelValues(link, family),
		announcements: m.announcements.WithLabelValues(link, family),
		probes:        m.probes.WithLabelValues(link, family),
		drops:         m.drops.WithLabelValues(link, family),
		member:        m.claims.WithLabelValues(link, family, "member"),
		stranger:      m.claims.WithLabelValues(link, family, "stranger"),
		router:        m.claims.WithLabelValues(link, family, "router"),
		readErrors:    m.errors.WithLabelValues(link, family, "read"),
		writeErrors:   m.errors.WithLabelValues(link, family, "write"),
	}
	for k := range sightingKinds {
		p.received[k] = m.received.WithLabelValues(link, family, k.String())
	}
	for _, r := range malformedReasons() {
		p.malformed[r] = m.malformed.WithLabelValues(link, family, string(r))
	}
	return p
}

// count counts what a frame was.
func (p *portMetrics) count(s sighting) {
	p.received[s.kind].Inc()
	switch {
	case s.kind == sawMalformed:
		p.malformed[s.reason].Inc()
	case s.kind != sawClaim:
	case s.node != "":
		p.member.Inc()
	case isVirtualRouter(s.mac):
		p.router.Inc()
	default:
		p.stranger.Inc()
	}
}
