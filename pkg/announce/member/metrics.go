package member

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what a member sees. It is a prometheus.Collector.
type Metrics struct {
	members   *prometheus.GaugeVec
	isolated  prometheus.Gauge
	refused   *prometheus.CounterVec
	verdicts  *prometheus.CounterVec
	restarts  prometheus.Counter
	conflicts prometheus.Counter
	late      prometheus.Counter
	accused   prometheus.Counter
	keys      *prometheus.GaugeVec
}

// NewMetrics returns metrics that aren't registered anywhere.
func NewMetrics() *Metrics {
	return &Metrics{
		members: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "herald_members", Help: "Members by state: alive, or why they are down."}, []string{"state"}),
		isolated: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "herald_member_isolated", Help: "1 while other nodes are known and none is alive."}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "herald_member_refused_total", Help: "Packets and streams not taken, by reason."}, []string{"reason"}),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "herald_member_down_total", Help: "Members seen going down, by cause."}, []string{"cause"}),
		restarts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "herald_member_restarts_total", Help: "Members seen restarting without having left."}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "herald_member_name_conflicts_total", Help: "Times that two nodes were seen under one name."}),
		late: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "herald_member_late_ticks_total", Help: "Ticks of this node's failure detection that came too late to count."}),
		accused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "herald_member_accused_total", Help: "Times that a watcher said this node is down."}),
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "herald_member_keys", Help: "Keys by use: held, and waiting while the Secret's primary key isn't in use yet."}, []string{"use"}),
	}
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.members, m.isolated, m.refused, m.verdicts, m.restarts, m.conflicts, m.late, m.accused, m.keys}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
}

func (m *Metrics) refuse(r refusal) { m.refused.WithLabelValues(string(r)).Inc() }

// refuseError counts an error that is, or wraps, a refusal.
func (m *Metrics) refuseError(err error) {
	r := refusedHandshake
	errors.As(err, &r)
	m.refuse(r)
}

// show sets the gauges to a view.
func (m *Metrics) show(v View) {
	m.members.Reset()
	for _, s := range v.Members {
		state := "alive"
		if !s.Alive {
			state = s.Down.String()
		}
		m.members.WithLabelValues(state).Inc()
	}
	m.isolated.Set(0)
	if v.Isolated {
		m.isolated.Set(1)
	}
}

func (m *Metrics) showKeys(held int, waiting bool) {
	m.keys.WithLabelValues("held").Set(float64(held))
	m.keys.WithLabelValues("waiting").Set(0)
	if waiting {
		m.keys.WithLabelValues("waiting").Set(1)
	}
}
