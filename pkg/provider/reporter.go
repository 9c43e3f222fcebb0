package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/herald-lb/herald/pkg/ipam"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// ConditionAddressAllocated is the type of the condition in the status of a
// Service that has less than it asks for. Its status is always "False", its
// reason is an ipam.Reason. A Service that has all it asks for, or isn't ours,
// has no such condition: saying so of each would cost a write per Service.
const ConditionAddressAllocated = "herald-lb.io/AddressAllocated"

// Reasons of Events on Services; the names are MetalLB's.
const (
	reasonAllocated = "IPAllocated"
	reasonFailed    = "AllocationFailed"
	reasonCleared   = "ClearAssignment"
)

// reporter tells the users of Services that wait why: by an Event and a
// condition, once per change of the reason. It works on levels: whatever
// changes, the key of the Service is queued, and the ledger is compared with
// what the Service shows.
type reporter struct {
	ledger   *ledger
	services corelisters.ServiceLister
	client   corev1.ServicesGetter
	recorder record.EventRecorder
	queue    workqueue.TypedRateLimitingInterface[types.NamespacedName]

	mu   sync.Mutex                  // guards the field below
	told map[types.UID]*ipam.Refusal // what the condition says, also when the cache is behind
}

func newReporter(l *ledger, services corelisters.ServiceLister, client corev1.ServicesGetter, recorder record.EventRecorder) *reporter {
	return &reporter{
		ledger: l, services: services, client: client, recorder: recorder,
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](time.Second, 5*time.Minute)),
		told: make(map[types.UID]*ipam.Refusal),
	}
}

// report queues a Service.
func (r *reporter) report(key types.NamespacedName) { r.queue.Add(key) }

// cleared says at once which addresses were taken from a Service.
func (r *reporter) cleared(svc *v1.Service, cleared []ipam.Cleared) {
	for _, c := range cleared {
		kind := v1.EventTypeWarning
		if refusal, ok := errors.AsType[*ipam.Refusal](c.Reason); ok && refusal.Reason == ipam.Superseded {
			kind = v1.EventTypeNormal // the Service's own wish
		}
		r.recorder.Eventf(svc, kind, reasonCleared, "Address %v is taken from this Service: %s", c.Address, detail(c.Reason))
	}
}

// run reports until ctx ends.
func (r *reporter) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, r.queue.ShutDown)
	defer stop()
	for {
		key, quit := r.queue.Get()
		if quit {
			return
		}
		if err := r.sync(ctx, key); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Telling why a Service waits failed, will be tried again", "service", key)
			r.queue.AddRateLimited(key)
		} else {
			r.queue.Forget(key)
		}
		r.queue.Done(key)
	}
}

// sync makes the condition of a Service say what the ledger says.
func (r *reporter) sync(ctx context.Context, key types.NamespacedName) error {
	svc, err := r.services.Services(key.Namespace).Get(key.Name)
	if err != nil {
		return nil // it is gone, and its condition with it
	}
	var want *ipam.Refusal
	var held []string
	if wanted(svc) {
		as, refusal := r.ledger.holds(svc.UID)
		want = refusal
		for _, a := range as {
			held = append(held, a.String())
		}
	}
	have := r.shown(svc)
	if sameRefusal(want, have) {
		return nil
	}
	if err := r.patch(ctx, svc, want); err != nil {
		return err
	}
	switch {
	case want == nil && len(held) > 0:
		r.recorder.Eventf(svc, v1.EventTypeNormal, reasonAllocated, "Assigned IP %q", held)
	case want != nil && (have == nil || want.Reason != have.Reason):
		r.recorder.Eventf(svc, v1.EventTypeWarning, reasonFailed, "Failed to allocate IP for %q: %s: %s", key, want.Reason, cut(want.Detail, 800))
	}
	return nil
}

// shown returns the refusal that the Service's condition tells of. After a
// start only its text is known; where the ledger still says the same text, it
// is the same refusal.
func (r *reporter) shown(svc *v1.Service) *ipam.Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	if told, ok := r.told[svc.UID]; ok {
		return told
	}
	c := meta.FindStatusCondition(svc.Status.Conditions, ConditionAddressAllocated)
	if c == nil {
		return nil
	}
	if _, now := r.ledger.holds(svc.UID); now != nil && now.Reason.String() == c.Reason && now.Detail == c.Message {
		return now
	}
	return &ipam.Refusal{Reason: reasonOf(c.Reason), Detail: c.Message}
}

// forget drops what is known of a Service that is gone.
func (r *reporter) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.told, uid)
}

// patch writes or removes the condition, and touches nothing else. The UID
// makes it fail for another Service of the same name.
func (r *reporter) patch(ctx context.Context, svc *v1.Service, want *ipam.Refusal) error {
	condition := map[string]any{"type": ConditionAddressAllocated, "$patch": "delete"}
	if want != nil {
		condition = map[string]any{
			"type": ConditionAddressAllocated, "status": metav1.ConditionFalse,
			"reason": want.Reason.String(), "message": want.Detail,
			"lastTransitionTime": metav1.Now(), "observedGeneration": svc.Generation,
		}
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": svc.UID},
		"status":   map[string]any{"conditions": []any{condition}},
	})
	if err != nil {
		return fmt.Errorf("condition of %s/%s: %w", svc.Namespace, svc.Name, err)
	}
	_, err = r.client.Services(svc.Namespace).Patch(ctx, svc.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) && r.replaced(svc) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("condition of %s/%s: %w", svc.Namespace, svc.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told[svc.UID] = want
	return nil
}

// replaced tells whether the cache has another Service by that name, or none.
func (r *reporter) replaced(svc *v1.Service) bool {
	now, err := r.services.Services(svc.Namespace).Get(svc.Name)
	return err != nil || now.UID != svc.UID
}

// hasCondition tells whether a Service shows our condition.
func hasCondition(svc *v1.Service) bool {
	return meta.FindStatusCondition(svc.Status.Conditions, ConditionAddressAllocated) != nil
}

// reasonOf is the inverse of ipam.Reason.String; 0 for an unknown reason.
func reasonOf(text string) ipam.Reason {
	for reason := ipam.NoConfiguration; reason <= ipam.Superseded; reason++ {
		if reason.String() == text {
			return reason
		}
	}
	return 0
}

// detail returns the text of a refusal without the Service's name.
func detail(err error) string {
	if refusal, ok := errors.AsType[*ipam.Refusal](err); ok {
		return refusal.Detail
	}
	return err.Error()
}
