package provider

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	servicecontroller "k8s.io/cloud-provider/controllers/service"
	servicehelper "k8s.io/cloud-provider/service/helpers"
	controllersmetrics "k8s.io/component-base/metrics/prometheus/controllers"
	"k8s.io/klog/v2"
)

// resyncPeriod is how often everything is looked at without a reason: a net
// under the rest.
const resyncPeriod = 5 * time.Minute

// reporters is how many Services are told at a time why they wait.
const reporters = 4

// dependencies are what a controller is made of.
type dependencies struct {
	options  Options
	metrics  *collectors
	writes   kubernetes.Interface // for what the stock controller writes: fast
	reports  kubernetes.Interface // for conditions, ConfigMaps and the Secret
	events   kubernetes.Interface // for Events
	recorder record.EventRecorder
	shared   informers.SharedInformerFactory // the stock controllers' own; not started yet
}

// controller is the stock service controller with all that makes it Herald's.
type controller struct {
	dependencies
	ledger       *ledger
	classes      *classes
	written      *writes
	nudger       *nudger
	services     corelisters.ServiceLister
	reporter     *reporter
	verifier     *verifier
	configurator *configurator
	stock        *servicecontroller.Controller

	synced  []cache.InformerSynced
	configs []informers.SharedInformerFactory // of the ConfigMaps
}

// newController wires a controller. It starts nothing, and has to be called
// before the shared informers are started.
func newController(d dependencies) (*controller, error) {
	services, nodes := d.shared.Core().V1().Services(), d.shared.Core().V1().Nodes()
	c := &controller{
		dependencies: d,
		ledger:       newLedger(d.metrics),
		classes:      newClasses(d.options),
		written:      newWrites(),
		nudger:       newNudger(services),
		services:     services.Lister(),
	}
	if err := services.Informer().SetTransform(c.classes.transform); err != nil {
		return nil, fmt.Errorf("service informer: %w", err)
	}
	c.reporter = newReporter(c.ledger, c.services, d.reports.CoreV1(), d.recorder)
	c.verifier = newVerifier(c.ledger, c.services, c.nudger.nudge, d.metrics)
	if err := c.wireConfig(); err != nil {
		return nil, err
	}
	seen, err := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { c.saw(obj.(*v1.Service)) },
		UpdateFunc: func(old, now any) { c.changed(old.(*v1.Service), now.(*v1.Service)) },
		DeleteFunc: c.deleted,
	})
	if err != nil {
		return nil, fmt.Errorf("service informer: %w", err)
	}
	c.synced = append(c.synced, services.Informer().HasSynced, seen.HasSynced)

	balancer := &balancer{ledger: c.ledger, services: c.services, told: c.told}
	client := quietClient{Interface: d.writes, events: d.events.CoreV1(), writes: c.written}
	c.stock, err = servicecontroller.New(cloud{balancer: balancer}, client, c.nudger, deafNodes{nodes}, Name, nil)
	return c, errors.Join(err, c.nudger.check())
}

// wireConfig makes the informers of the two ConfigMaps and the configurator.
// Each informer sees one object, so that the right to read just that one will do.
func (c *controller) wireConfig() error {
	c.configurator = &configurator{
		options: c.options, ledger: c.ledger, metrics: c.metrics,
		client: c.reports.CoreV1(), recorder: c.recorder,
		apply: c.apply, look: make(chan struct{}, 1),
	}
	for name, lister := range map[string]*corelisters.ConfigMapNamespaceLister{
		configName: &c.configurator.configs, liveName: &c.configurator.lives,
	} {
		factory := informers.NewSharedInformerFactoryWithOptions(c.reports, 0,
			informers.WithNamespace(c.options.Namespace), informers.WithTweakListOptions(only(name)))
		maps := factory.Core().V1().ConfigMaps()
		*lister = maps.Lister().ConfigMaps(c.options.Namespace)
		poke := func(any) { c.configurator.poke() }
		if _, err := maps.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: poke, UpdateFunc: func(any, any) { c.configurator.poke() }, DeleteFunc: poke,
		}); err != nil {
			return fmt.Errorf("informer of the ConfigMap %s: %w", name, err)
		}
		c.synced = append(c.synced, maps.Informer().HasSynced)
		c.configs = append(c.configs, factory)
	}
	return nil
}

// run runs the controller until ctx ends. The shared informers are started by
// others.
func (c *controller) run(ctx context.Context, workers int, m *controllersmetrics.ControllerManagerMetrics) {
	for _, factory := range c.configs {
		factory.Start(ctx.Done())
		defer factory.Shutdown()
	}
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { c.secret(ctx) }) // first of all: announcers wait for it
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	if err := c.prime(ctx); err != nil {
		klog.FromContext(ctx).Error(err, "The state of the cluster can't be read, nothing is given out")
		return
	}
	for range reporters {
		group.Go(func() { c.reporter.run(ctx) })
	}
	group.Go(func() { c.verifier.run(ctx) })
	group.Go(func() { c.configurator.run(ctx) })
	group.Go(func() { c.settle(ctx) })
	c.stock.Run(ctx, workers, m)
}

// prime reads what the cluster shows before anything is given out: what was
// accepted last, which addresses are in use, and what the user wants now. A
// Service that waits may come first when the stock controller starts.
func (c *controller) prime(ctx context.Context) error {
	all, err := c.services.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	var adoptions []adoption
	for _, svc := range all {
		if ours(svc) {
			adoptions = append(adoptions, adoption{ask: asks(svc), shown: shown(svc), deleting: svc.DeletionTimestamp != nil})
		}
	}
	c.ledger.prime(c.configurator.start(ctx), adoptions)
	c.configurator.judge(ctx)
	klog.FromContext(ctx).Info("Read what the cluster shows", "services", len(adoptions), "generation", c.configurator.live.generation)
	return nil
}

// settle serves those that wait whenever there is a reason to.
func (c *controller) settle(ctx context.Context) {
	resync := time.NewTicker(resyncPeriod)
	defer resync.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.ledger.stirred:
			c.apply(c.ledger.reconsider())
			c.configurator.freed()
		case <-resync.C:
			c.ledger.wake()
			all, _ := c.services.List(labels.Everything()) // reads a cache, does not fail
			for _, svc := range all {
				c.verifier.look(svc)
			}
		}
	}
}

// secret creates the announcers' key if there is none.
func (c *controller) secret(ctx context.Context) {
	_ = wait.PollUntilContextCancel(ctx, 5*time.Second, true, func(ctx context.Context) (bool, error) {
		err := createSecret(ctx, c.reports.CoreV1(), c.options.Namespace)
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "The announcers' key can't be created, will be tried again")
		}
		return err == nil, nil
	})
}

// told takes what the balancer decided about a Service, and about others.
func (c *controller) told(svc *v1.Service, d decision, others []decision) {
	c.reporter.cleared(svc, d.cleared)
	c.reporter.report(d.key)
	c.apply(others)
}

// apply has decisions carried out that nobody asked for: the stock controller
// has to look at those Services again.
func (c *controller) apply(decisions []decision) {
	for _, d := range decisions {
		svc, err := c.services.Services(d.key.Namespace).Get(d.key.Name)
		if err != nil || svc.UID != d.uid {
			continue
		}
		c.reporter.cleared(svc, d.cleared)
		c.reporter.report(d.key)
		if d.changed {
			c.nudger.nudge(svc)
		}
	}
}

// saw takes note of a Service as the cache has it. While a Service that wants
// no address any more has the cleanup finalizer, what it holds is left to the
// stock controller, which takes it back after its last write.
func (c *controller) saw(svc *v1.Service) {
	if !wanted(svc) {
		if held, _ := c.ledger.holds(svc.UID); len(held) == 0 || !servicehelper.HasLBFinalizer(svc) {
			c.ledger.release(svc.UID)
		}
		if hasCondition(svc) {
			c.reporter.report(keyOf(svc))
		}
	}
	if !c.written.after(svc) {
		c.ledger.observe(svc.UID, shown(svc))
	}
	c.verifier.look(svc)
}

// changed takes note of a change of a Service. The stock controller looks at
// it by itself for most changes, but not for one of the selector, which counts
// for sharing, or of the IP family policy.
func (c *controller) changed(old, now *v1.Service) {
	if old.UID != now.UID {
		c.deleted(old)
	}
	c.saw(now)
	if old.UID == now.UID && wanted(old) && wanted(now) {
		before, _ := request(old)
		after, _ := request(now)
		if !reflect.DeepEqual(before, after) {
			c.nudger.nudge(now)
		}
	}
}

// deleted takes note of the end of a Service, which the stock controller would
// not notice if somebody else removed the finalizer.
func (c *controller) deleted(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	svc, ok := obj.(*v1.Service)
	if !ok {
		return
	}
	c.ledger.release(svc.UID)
	c.ledger.observe(svc.UID, nil)
	c.classes.forget(svc.UID)
	c.written.forget(svc.UID)
	c.reporter.forget(svc.UID)
	c.verifier.forget(keyOf(svc))
}

// keyOf returns the name of a Service.
func keyOf(svc *v1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
}
