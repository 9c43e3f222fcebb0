package provider

import (
	"bytes"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	servicehelper "k8s.io/cloud-provider/service/helpers"
	"k8s.io/utils/ptr"
)

// fieldManager is the name under which the service controller's writes are
// recorded in metadata.managedFields: by it a later process knows which
// finalizers Herald set.
const fieldManager = "herald-cloud-controller-manager"

// transformed marks a cached object that went through classes.transform. The
// API server knows only the operations Apply and Update, so that no user can
// make this mark.
const transformed = metav1.ManagedFieldsOperationType("herald")

// notServed is the class that the stock controller sees on Services that it
// must leave alone but that have no class of their own.
const notServed = "herald-lb.io/not-served"

// classes decides which Services the stock service controller sees as its
// own. That controller serves Services without a class and no others, so the
// cached copy of a Service (never the one in the API) is changed to fit:
//
//   - our class is hidden;
//   - a Service that isn't ours gets a class, and its cleanup finalizer is
//     hidden: the stock controller would strip it from any Service that is
//     being deleted, while other implementations use the same one;
//   - a Service that is being deleted and has no cleanup finalizer any more is
//     treated as not ours: the stock controller would try to add one to it,
//     which the API refuses, for ever.
//
// The patches that the stock controller sends are differences of two copies
// of the cached object, so none of this reaches the API.
type classes struct {
	classless bool // Services without a class are served

	mu    sync.Mutex             // guards the field below
	known map[types.UID]struct{} // Services that were ours and have the finalizer
}

func newClasses(o Options) *classes {
	return &classes{classless: o.ServeClassless, known: make(map[types.UID]struct{})}
}

// transform is a cache.TransformFunc. It may see an object twice.
func (c *classes) transform(obj any) (any, error) {
	svc, ok := obj.(*v1.Service)
	if !ok || slices.ContainsFunc(svc.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Operation == transformed }) {
		return obj, nil
	}
	ours := svc.Spec.Type == v1.ServiceTypeLoadBalancer && c.serves(svc.Spec.LoadBalancerClass)
	finalizer := servicehelper.HasLBFinalizer(svc)
	if !c.ownsFinalizer(svc, ours) {
		svc.Finalizers = slices.DeleteFunc(svc.Finalizers, func(f string) bool { return f == servicehelper.LoadBalancerCleanupFinalizer })
	}
	switch {
	case ours && (svc.DeletionTimestamp == nil || finalizer):
		svc.Spec.LoadBalancerClass = nil
	case svc.Spec.Type == v1.ServiceTypeLoadBalancer && (ours || svc.Spec.LoadBalancerClass == nil):
		svc.Spec.LoadBalancerClass = ptr.To(notServed)
	}
	mark := metav1.ManagedFieldsEntry{Operation: transformed}
	if ours {
		mark.Manager = fieldManager
	}
	svc.ManagedFields = []metav1.ManagedFieldsEntry{mark}
	return svc, nil
}

// serves tells whether a LoadBalancer Service of the class is ours.
func (c *classes) serves(class *string) bool {
	if class == nil {
		return c.classless
	}
	return *class == LoadBalancerClass
}

// ownsFinalizer tells whether the cleanup finalizer of a Service is for us to
// remove: on a Service that is ours, on one that was ours when this process
// saw it with the finalizer, and where the API says that we set it.
func (c *classes) ownsFinalizer(svc *v1.Service, ours bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !servicehelper.HasLBFinalizer(svc) {
		delete(c.known, svc.UID)
		return ours
	}
	if ours {
		c.known[svc.UID] = struct{}{}
	}
	_, known := c.known[svc.UID]
	return known || slices.ContainsFunc(svc.ManagedFields, setFinalizer)
}

// forget drops what is known of a Service that is gone.
func (c *classes) forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, uid)
}

// setFinalizer tells whether the entry says that we set the cleanup finalizer.
func setFinalizer(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == fieldManager &&
		bytes.Contains(e.FieldsV1.GetRawBytes(), []byte(`v:\"`+servicehelper.LoadBalancerCleanupFinalizer+`\"`))
}

// ours tells whether a cached Service, which went through transform, is one
// that Herald serves, also while it is being deleted.
func ours(svc *v1.Service) bool {
	return svc.Spec.Type == v1.ServiceTypeLoadBalancer && slices.ContainsFunc(svc.ManagedFields, func(e metav1.ManagedFieldsEntry) bool {
		return e.Operation == transformed && e.Manager == fieldManager
	})
}

// wanted tells whether a cached Service, which went through transform, is one
// that should have an address.
func wanted(svc *v1.Service) bool {
	return svc.Spec.Type == v1.ServiceTypeLoadBalancer && svc.Spec.LoadBalancerClass == nil && svc.DeletionTimestamp == nil
}
