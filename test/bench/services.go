package bench

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/herald-lb/herald/test/lab"
)

// concurrency is that of everything that works on Services here, and of the
// controller's workers.
const concurrency = 16

// services is a client for the Services of a namespace: one of its own, without
// a limit of its rate, that speaks as the controller does.
func (c *cluster) services(ns string) (typedcorev1.ServiceInterface, error) {
	config, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return client.CoreV1().Services(ns), nil
}

// newService is a LoadBalancer Service without node ports. change may be nil.
func newService(name string, change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: new(bool),
			Ports: []corev1.ServicePort{{Port: 80}},
		},
	}
	if change != nil {
		change(s)
	}
	return s
}

// serviceNames are names of n Services.
func serviceNames(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return names
}

// each calls f for each name, several at a time.
func each(ctx context.Context, names []string, f func(ctx context.Context, name string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	for _, name := range names {
		group.Go(func() error { return f(ctx, name) })
	}
	return group.Wait()
}

// namespace makes a namespace; remove deletes all its Services and then it.
func (c *cluster) namespace(ctx context.Context, name string) (remove func() error, err error) {
	_, err = c.Client().CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	return func() error {
		if ctx.Err() != nil {
			return nil // the lab will be taken down as it is
		}
		if err := c.removeServices(ctx, name); err != nil {
			return err
		}
		_, err := c.Kubectl(ctx, "delete", "namespace", name, "--timeout=90s")
		return err
	}, err
}

// removeServices deletes all Services of a namespace and waits until they are
// gone. Finalizers that are not Herald's are taken off.
func (c *cluster) removeServices(ctx context.Context, ns string) error {
	services, err := c.services(ns)
	if err != nil {
		return err
	}
	list, err := services.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var names []string
	foreign := map[string]bool{}
	for _, s := range list.Items {
		names = append(names, s.Name)
		foreign[s.Name] = s.Spec.LoadBalancerClass != nil && *s.Spec.LoadBalancerClass == bareClass
	}
	err = each(ctx, names, func(ctx context.Context, name string) error {
		if foreign[name] {
			if _, err := services.Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
				return err
			}
		}
		if err := services.Delete(ctx, name, metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.WaitFor(ctx, lab.Wait{
		What: "the Services of namespace " + ns + " to be gone", Timeout: 3 * time.Minute,
		Done: func(ctx context.Context) (bool, string) {
			list, err := services.List(ctx, metav1.ListOptions{})
			if err != nil {
				return false, err.Error()
			}
			return len(list.Items) == 0, fmt.Sprintf("%d are left", len(list.Items))
		},
	})
}

// watchServices watches the Services of a namespace from now on. The API server
// ends a watch that can't keep up; it is then taken up where it ended.
func watchServices(ctx context.Context, services typedcorev1.ServiceInterface) (watch.Interface, error) {
	list, err := services.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, err
	}
	return watchtools.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: services.Watch,
	})
}

// sightings are the times at which Services of a namespace were first seen with
// an address, by a watch.
type sightings struct {
	services typedcorev1.ServiceInterface
	want     int
	full     chan struct{} // closed when as many as are wanted have been seen
	ended    chan struct{} // closed when the watch has ended

	mu   sync.Mutex // guards the field below
	seen map[string]time.Time
}

// watchAddresses watches until ctx ends.
func watchAddresses(ctx context.Context, services typedcorev1.ServiceInterface, want int) (*sightings, error) {
	s := &sightings{
		services: services, want: want,
		full: make(chan struct{}), ended: make(chan struct{}), seen: make(map[string]time.Time, want),
	}
	w, err := watchServices(ctx, services)
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(s.ended)
		defer w.Stop()
		for e := range w.ResultChan() {
			if svc, ok := e.Object.(*corev1.Service); ok && len(svc.Status.LoadBalancer.Ingress) > 0 {
				s.saw(svc.Name, time.Now())
			}
		}
	}()
	return s, nil
}

func (s *sightings) saw(name string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.seen[name]; ok {
		return
	}
	s.seen[name] = at
	if len(s.seen) == s.want {
		close(s.full)
	}
}

// wait waits until all are seen, and returns when each was.
func (s *sightings) wait(ctx context.Context, within time.Duration) (map[string]time.Time, error) {
	select {
	case <-s.full:
		s.mu.Lock()
		defer s.mu.Unlock()
		return maps.Clone(s.seen), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-s.ended:
		return nil, s.incomplete(ctx, "when the watch of them ended")
	case <-time.After(within):
		return nil, s.incomplete(ctx, fmt.Sprintf("after %v", within))
	}
}

// incomplete says how many Services have no address, and how many have one that
// the watch did not show.
func (s *sightings) incomplete(ctx context.Context, when string) error {
	list, err := s.services.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var without, unseen []string
	for _, svc := range list.Items {
		if len(svc.Status.LoadBalancer.Ingress) == 0 {
			without = append(without, svc.Name)
		} else if _, ok := s.seen[svc.Name]; !ok {
			unseen = append(unseen, svc.Name)
		}
	}
	return fmt.Errorf("%s %d of %d Services have been seen with an address; %d have none %q; %d have one that was not seen %q",
		when, len(s.seen), s.want, len(without), without[:min(len(without), 5)], len(unseen), unseen[:min(len(unseen), 5)])
}

// createAndWait creates Services and waits until all have addresses.
func createAndWait(ctx context.Context, services typedcorev1.ServiceInterface, names []string, change func(*corev1.Service)) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	seen, err := watchAddresses(watching, services, len(names))
	if err != nil {
		return err
	}
	err = each(ctx, names, func(ctx context.Context, name string) error {
		_, err := services.Create(ctx, newService(name, change), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	_, err = seen.wait(ctx, burstTimeout)
	return err
}
