package provider

import (
	"context"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/util/workqueue"
	servicehelper "k8s.io/cloud-provider/service/helpers"
	"k8s.io/klog/v2"
)

// The verifier's pauses: after a difference is seen before it is looked at
// again (the service controller's own writes look like differences until the
// cache shows them), at most when repairs don't last, and how long one has to
// last to count as lasting.
const (
	driftPause    = time.Second
	driftPauseMax = 5 * time.Minute
	driftSettled  = time.Minute
)

// verifier finds Services whose status or finalizer is not what the ledger
// says, and has the service controller look at them again. That controller
// never looks at a status that somebody else changed, and it skips a write
// when the status it remembers, which may be old, is the one it wants. The
// pause doubles with each repair that doesn't last, so that a second
// implementation that writes the same status can't start a war of writes.
type verifier struct {
	ledger   *ledger
	services corelisters.ServiceLister
	nudge    func(*v1.Service)
	metrics  *collectors
	queue    workqueue.TypedDelayingInterface[types.NamespacedName]

	mu      sync.Mutex // guards the field below
	repairs map[types.NamespacedName]repair
}

// repair is the last time that a Service had to be repaired.
type repair struct {
	at    time.Time
	pause time.Duration // before the next one
}

func newVerifier(l *ledger, services corelisters.ServiceLister, nudge func(*v1.Service), m *collectors) *verifier {
	return &verifier{
		ledger: l, services: services, nudge: nudge, metrics: m,
		queue:   workqueue.NewTypedDelayingQueue[types.NamespacedName](),
		repairs: make(map[types.NamespacedName]repair),
	}
}

// look queues a Service if it isn't as it should be.
func (v *verifier) look(svc *v1.Service) {
	if !v.differs(svc) {
		return
	}
	key := types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
	v.queue.AddAfter(key, v.pause(key))
}

// differs tells whether a Service shows something else than what it holds.
func (v *verifier) differs(svc *v1.Service) bool {
	if !wanted(svc) {
		return false
	}
	held, _ := v.ledger.holds(svc.UID)
	if !showsExactly(svc, held) {
		return true
	}
	return len(held) > 0 && !servicehelper.HasLBFinalizer(svc)
}

// pause returns how long to wait before a Service is looked at again.
func (v *verifier) pause(key types.NamespacedName) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, ok := v.repairs[key]
	if !ok {
		return driftPause
	}
	since := time.Since(r.at)
	if since > r.pause+driftSettled {
		delete(v.repairs, key)
		return driftPause
	}
	return max(driftPause, r.pause-since)
}

// run repairs until ctx ends.
func (v *verifier) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, v.queue.ShutDown)
	defer stop()
	for {
		key, quit := v.queue.Get()
		if quit {
			return
		}
		v.verify(ctx, key)
		v.queue.Done(key)
	}
}

// verify repairs one Service if it still differs.
func (v *verifier) verify(ctx context.Context, key types.NamespacedName) {
	svc, err := v.services.Services(key.Namespace).Get(key.Name)
	if err != nil || !v.differs(svc) {
		return
	}
	held, _ := v.ledger.holds(svc.UID)
	klog.FromContext(ctx).Info("The status or the finalizer of a Service is not as it should be, writing it again",
		"service", key, "addresses", held, "shown", shown(svc))
	v.metrics.repairs.Inc()
	v.mu.Lock()
	last := v.repairs[key]
	v.repairs[key] = repair{at: time.Now(), pause: min(max(driftPause, 2*last.pause), driftPauseMax)}
	v.mu.Unlock()
	v.nudge(svc)
}

// forget drops what is known of a Service that is gone.
func (v *verifier) forget(key types.NamespacedName) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.repairs, key)
}
