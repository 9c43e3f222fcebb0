package provider

import (
	"errors"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
	servicehelper "k8s.io/cloud-provider/service/helpers"
)

// nudger is a Service informer that remembers the event handler of whoever
// registers on it: the stock service controller. Handing that handler a
// Service once more makes the controller look at it again, at once and
// without any write to the API.
type nudger struct {
	coreinformers.ServiceInformer
	informer capturing
}

// capturing is the shared informer behind a nudger.
type capturing struct {
	cache.SharedIndexInformer
	captured *captured
}

// captured is the handler that was registered.
type captured struct {
	mu      sync.Mutex // guards the field below
	handler cache.ResourceEventHandler
}

func newNudger(services coreinformers.ServiceInformer) *nudger {
	return &nudger{ServiceInformer: services, informer: capturing{services.Informer(), &captured{}}}
}

// Informer returns the informer on which to register.
func (n *nudger) Informer() cache.SharedIndexInformer { return n.informer }

// errNotCaptured is a change in the stock controller that has to be followed
// here.
var errNotCaptured = errors.New("the service controller registered no event handler: it can't be told to look at a Service again")

// check fails when no handler has been registered.
func (n *nudger) check() error {
	if n.informer.captured.get() == nil {
		return errNotCaptured
	}
	return nil
}

// nudge makes the service controller look at the Service again. A Service that
// is being deleted and lacks the cleanup finalizer is left out: the controller
// would try to add it, which the API refuses.
func (n *nudger) nudge(svc *v1.Service) {
	if svc.DeletionTimestamp != nil && !servicehelper.HasLBFinalizer(svc) {
		return
	}
	n.informer.captured.get().OnAdd(svc, false)
}

func (c *captured) get() cache.ResourceEventHandler {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handler
}

func (c *captured) set(h cache.ResourceEventHandler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handler = h
}

// AddEventHandler captures the handler.
func (i capturing) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	i.captured.set(h)
	return i.SharedIndexInformer.AddEventHandler(h)
}

// AddEventHandlerWithResyncPeriod captures the handler.
func (i capturing) AddEventHandlerWithResyncPeriod(h cache.ResourceEventHandler, d time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	i.captured.set(h)
	return i.SharedIndexInformer.AddEventHandlerWithResyncPeriod(h, d)
}

// AddEventHandlerWithOptions captures the handler.
func (i capturing) AddEventHandlerWithOptions(h cache.ResourceEventHandler, o cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	i.captured.set(h)
	return i.SharedIndexInformer.AddEventHandlerWithOptions(h, o)
}

// deafNodes is a node informer that tells its handlers nothing. The stock
// service controller looks at all Services when the set of nodes changes, which
// is none of ours, and reads them without a lock while it does.
type deafNodes struct{ coreinformers.NodeInformer }

// Informer returns the informer on which registering has no effect.
func (d deafNodes) Informer() cache.SharedIndexInformer { return deaf{d.NodeInformer.Informer()} }

type deaf struct{ cache.SharedIndexInformer }

// AddEventHandlerWithResyncPeriod does nothing.
func (deaf) AddEventHandlerWithResyncPeriod(cache.ResourceEventHandler, time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return nil, nil
}
