package provider

import (
	"context"
	"sync"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	servicehelper "k8s.io/cloud-provider/service/helpers"
)

// writes remembers the version that our last write gave each Service. News
// older than that must not be taken for what the API shows: an address that is
// not there yet would look like one that is there no more.
type writes struct {
	mu       sync.Mutex // guards the field below
	versions map[types.UID]string
}

func newWrites() *writes { return &writes{versions: make(map[types.UID]string)} }

// note takes note of what a write returned.
func (w *writes) note(svc *v1.Service) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.versions[svc.UID] = svc.ResourceVersion
}

// after tells whether a Service, as the cache has it, is older than our last
// write of it.
func (w *writes) after(svc *v1.Service) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	written, ok := w.versions[svc.UID]
	if !ok {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(svc.ResourceVersion, written)
	if err == nil && order < 0 {
		return true
	}
	delete(w.versions, svc.UID)
	return false
}

// forget drops what is known of a Service that is gone.
func (w *writes) forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.versions, uid)
}

// notedServices notes the writes of the stock service controller, all of which
// are patches.
type notedServices struct {
	corev1.ServiceInterface
	writes *writes
}

// Patch patches, and notes the version that came of it. When the stock
// controller removes the last finalizer that it knows of, it removes the whole
// list, and with it what others may have added meanwhile: here it removes its
// own and nothing else.
func (s notedServices) Patch(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, subresources ...string) (*v1.Service, error) {
	if string(data) == `{"metadata":{"finalizers":null}}` {
		data = []byte(`{"metadata":{"$deleteFromPrimitiveList/finalizers":["` + servicehelper.LoadBalancerCleanupFinalizer + `"]}}`)
	}
	svc, err := s.ServiceInterface.Patch(ctx, name, pt, data, opts, subresources...)
	if err == nil {
		s.writes.note(svc)
	}
	return svc, err
}
