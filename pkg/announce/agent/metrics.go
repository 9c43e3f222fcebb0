package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/herald-lb/herald/pkg/announce"
)

// Metrics are the numbers of the loop.
type Metrics struct {
	addresses  *prometheus.GaugeVec
	changes    *prometheus.CounterVec
	decisions  prometheus.Histogram
	generation prometheus.Gauge
	problem    prometheus.Gauge
	ready      prometheus.Gauge
	members    *prometheus.GaugeVec
}

// NewMetrics returns the numbers, all zero.
func NewMetrics() *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	return &Metrics{
		addresses: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "herald_announcer_addresses",
			Help: "Addresses that Services show, by why this node announces them (Announced) or does not.",
		}, []string{"reason"}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "herald_announcer_owner_changes_total",
			Help: "Addresses that changed their elected owner: gained or lost by this node, or elsewhere.",
		}, []string{"change"}),
		decisions: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "herald_announcer_decision_seconds",
			Help:    "Time to decide about all addresses and to hand it to the speakers.",
			Buckets: []float64{.0001, .001, .005, .01, .05, .1, .5},
		}),
		generation: gauge("herald_announcer_config_generation", "Generation of the configuration in force on this node, 0 for none."),
		problem:    gauge("herald_announcer_config_problem", "1 if this node can not apply the configuration accepted last."),
		ready:      gauge("herald_announcer_ready", "1 if this node may be elected."),
		members: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "herald_announcer_config_nodes",
			Help: "Live nodes, by whether they have the same configuration in force as this one.",
		}, []string{"configuration"}),
	}
}

// Register registers all numbers.
func (m *Metrics) Register(r prometheus.Registerer) {
	r.MustRegister(m.addresses, m.changes, m.decisions, m.generation, m.problem, m.ready, m.members)
}

func (m *Metrics) decided(d time.Duration) { m.decisions.Observe(d.Seconds()) }

func (m *Metrics) changed(gained, lost, elsewhere int) {
	m.changes.WithLabelValues("gained").Add(float64(gained))
	m.changes.WithLabelValues("lost").Add(float64(lost))
	m.changes.WithLabelValues("elsewhere").Add(float64(elsewhere))
}

// observe takes the numbers of a state.
func (m *Metrics) observe(s *state) {
	var byReason [announce.NotElected + 1]int
	for i := range s.plan.Addresses {
		byReason[s.plan.Addresses[i].Reason]++
	}
	for r, n := range byReason {
		m.addresses.WithLabelValues(announce.Reason(r).String()).Set(float64(n))
	}
	m.ready.Set(oneIf(s.local.Ready))
	if c := s.input.cluster; c != nil {
		m.generation.Set(float64(c.Generation))
		m.problem.Set(oneIf(c.ConfigProblem != ""))
	}
	if s.input.members == nil {
		return
	}
	same, other := 0, 0
	for _, member := range s.input.members.All {
		switch {
		case !member.Alive:
		case member.ConfigHash == s.local.ConfigHash:
			same++
		default:
			other++
		}
	}
	m.members.WithLabelValues("same").Set(float64(same))
	m.members.WithLabelValues("other").Set(float64(other))
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
