package provider

import (
	"context"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	"k8s.io/cloud-provider/names"
	"k8s.io/component-base/metrics/legacyregistry"
	controllermanager "k8s.io/controller-manager/app"
	stock "k8s.io/controller-manager/controller"
	"k8s.io/klog/v2"
)

// handOverTime bounds how long a hand-over may take. A lease that could not be
// released until then runs out by itself.
const handOverTime = 1500 * time.Millisecond

// component is the source of our Events.
const component = "herald-cloud-controller-manager"

// manager is Herald's part of a cloud controller manager.
type manager struct {
	options *Options
	fence   *fence
	leads   atomic.Bool
	config  atomic.Pointer[config.CompletedConfig]
	direct  atomic.Pointer[rest.Config] // past the fence
}

// newManager returns the part. The options count when the manager starts, after
// flags are parsed.
func newManager(o *Options) *manager {
	return &manager{options: o, fence: newFence()}
}

// cloud is the app.InitCloudFunc: it returns what the manager sees of us. A
// process with invalid options ends here.
func (m *manager) cloud(c *config.CompletedConfig) cloudprovider.Interface {
	if err := m.options.validate(); err != nil {
		klog.ErrorS(err, "Invalid options")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
	m.direct.Store(rest.CopyConfig(c.Kubeconfig))
	c.Kubeconfig.Wrap(m.fence.wrap)
	m.config.Store(c)
	return cloud{leading: func() { m.leads.Store(true) }}
}

// initializers returns the controllers to run: the stock service controller
// with ours around it, and the stock node controller. The node lifecycle
// controller isn't there, and with it nothing that deletes a node.
func (m *manager) initializers() map[string]app.ControllerInitFuncConstructor {
	return map[string]app.ControllerInitFuncConstructor{
		names.CloudNodeController: app.DefaultInitFuncConstructors[names.CloudNodeController],
		names.ServiceLBController: {
			InitContext: app.ControllerInitContext{ClientName: "service-controller"},
			Constructor: m.serviceController,
		},
	}
}

// serviceController is the constructor of the service controller.
func (m *manager) serviceController(_ app.ControllerInitContext, c *config.CompletedConfig, _ cloudprovider.Interface) app.InitFunc {
	return func(ctx context.Context, cc controllermanager.ControllerContext) (stock.Interface, bool, error) {
		d, err := m.dependencies(ctx, c)
		if err != nil {
			return nil, false, err
		}
		ours, err := newController(d)
		if err != nil {
			return nil, false, err
		}
		d.metrics.register(legacyregistry.Registerer())
		legacyregistry.Registerer().MustRegister(newPoolCollector(ours.ledger))
		workers := int(c.ComponentConfig.ServiceController.ConcurrentServiceSyncs)
		go ours.run(ctx, workers, cc.ControllerManagerMetrics)
		return nil, true, nil
	}
}

// dependencies makes the clients: each has a budget of requests of its own, so
// that no flood of Events can hold up an address.
func (m *manager) dependencies(ctx context.Context, c *config.CompletedConfig) (dependencies, error) {
	d := dependencies{options: *m.options, metrics: newCollectors(), shared: c.SharedInformers}
	for _, client := range []struct {
		to    *kubernetes.Interface
		qps   float32
		burst int
	}{
		{&d.writes, c.Kubeconfig.QPS, c.Kubeconfig.Burst},
		{&d.reports, 100, 200},
		{&d.events, 50, 100},
	} {
		config := rest.CopyConfig(c.Kubeconfig)
		config.UserAgent, config.QPS, config.Burst = fieldManager, client.qps, client.burst
		made, err := kubernetes.NewForConfig(config)
		if err != nil {
			return d, err
		}
		*client.to = made
	}
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&corev1.EventSinkImpl{Interface: d.events.CoreV1().Events("")})
	d.recorder = broadcaster.NewRecorder(scheme.Scheme, v1.EventSource{Component: component})
	return d, nil
}

// handOverAfter waits for the end of ctx, which means that the process is to stop,
// and then gives up leadership: first nothing is written any more, then the
// lease is released. The channel it returns is closed when the process can end.
func (m *manager) handOverAfter(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		if err := m.handOver(); err != nil {
			klog.ErrorS(err, "Leadership was not handed over, another replica takes over when the lease runs out")
		}
	}()
	return done
}

func (m *manager) handOver() error {
	c := m.config.Load()
	if c == nil || !m.leads.Load() || !c.ComponentConfig.Generic.LeaderElection.LeaderElect {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOverTime)
	defer cancel()
	if err := m.fence.close(ctx); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(m.direct.Load())
	if err != nil {
		return err
	}
	election := c.ComponentConfig.Generic.LeaderElection
	if err := releaseLease(ctx, client.CoordinationV1().Leases(election.ResourceNamespace), election.ResourceName); err != nil {
		return err
	}
	klog.InfoS("Handed over leadership", "lease", election.ResourceName)
	return nil
}

// only restricts a list to the object of that name.
func only(name string) func(*metav1.ListOptions) {
	return func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	}
}
