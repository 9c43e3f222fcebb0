package provider

import (
	"math"

	"github.com/herald-lb/herald/pkg/ipam"
	"github.com/prometheus/client_golang/prometheus"
)

// collectors are the controller's own collectors.
type collectors struct {
	allocations *prometheus.CounterVec
	repairs     prometheus.Counter
	generation  prometheus.Gauge
	stale       prometheus.Gauge
	refusals    *prometheus.CounterVec
	lastRefused prometheus.Gauge
}

// newCollectors returns the collectors, registered nowhere.
func newCollectors() *collectors {
	return &collectors{
		allocations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "herald_allocations_total",
			Help: "Decisions that changed what a Service has, by result (allocated, refused) and reason of the refusal.",
		}, []string{"result", "reason"}),
		repairs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "herald_status_repairs_total",
			Help: "Services whose status or finalizer was not as it should be and was written again.",
		}),
		generation: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "herald_config_generation",
			Help: "Generation of the live configuration; 0 when none was ever accepted.",
		}),
		stale: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "herald_config_stale",
			Help: "1 when the ConfigMap config is refused or missing, so that an earlier configuration is live; else 0.",
		}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "herald_config_refusals_total",
			Help: "Refused configurations by cause: invalid (it has mistakes), strands (it takes addresses in use).",
		}, []string{"cause"}),
		lastRefused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "herald_config_last_refused_timestamp_seconds",
			Help: "When a configuration was last refused; 0 when none was since the start.",
		}),
	}
}

// register registers the collectors.
func (m *collectors) register(r prometheus.Registerer) {
	r.MustRegister(m.allocations, m.repairs, m.generation, m.stale, m.refusals, m.lastRefused)
}

// decided counts a decision if it changed something; last is the refusal of
// the one before.
func (m *collectors) decided(d decision, last *ipam.Refusal) {
	switch {
	case d.refusal != nil && !sameRefusal(d.refusal, last):
		m.allocations.WithLabelValues("refused", d.refusal.Reason.String()).Inc()
	case d.changed && len(d.addresses) > 0:
		m.allocations.WithLabelValues("allocated", "").Inc()
	}
}

// poolCollector reads the ledger when metrics are asked for.
type poolCollector struct {
	ledger    *ledger
	addresses *prometheus.Desc
	waiting   *prometheus.Desc
}

func newPoolCollector(l *ledger) *poolCollector {
	return &poolCollector{
		ledger: l,
		addresses: prometheus.NewDesc("herald_pool_addresses",
			"Addresses of a pool by family and state: total (all that may be given out), in_use, draining (given back, but still shown by the API).",
			[]string{"pool", "family", "state"}, nil),
		waiting: prometheus.NewDesc("herald_services_waiting",
			"Services that have less than they ask for, by reason.", []string{"reason"}, nil),
	}
}

// Describe is part of prometheus.Collector.
func (c *poolCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.addresses
	out <- c.waiting
}

// Collect is part of prometheus.Collector.
func (c *poolCollector) Collect(out chan<- prometheus.Metric) {
	pools, waiting := c.ledger.usage()
	for _, p := range pools {
		total := float64(p.Size)
		if p.Size == math.MaxUint64 {
			total = math.Inf(1)
		}
		for state, n := range map[string]float64{"total": total, "in_use": float64(p.InUse), "draining": float64(p.Draining)} {
			out <- prometheus.MustNewConstMetric(c.addresses, prometheus.GaugeValue, n, p.Pool, p.Family.String(), state)
		}
	}
	for reason := ipam.NoConfiguration; reason <= ipam.Superseded; reason++ {
		out <- prometheus.MustNewConstMetric(c.waiting, prometheus.GaugeValue, float64(waiting[reason]), reason.String())
	}
}
