package bench

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// bareClass is the class of the Services that the bare client serves, and
// bareFinalizer is as long as the stock controller's.
const (
	bareClass     = "bench.herald-lb.io/bare"
	bareFinalizer = "bench.herald-lb.io/load-balancer-cleanup"
)

// ofBareClass makes a Service one of the bare client's.
func ofBareClass(s *corev1.Service) {
	class := bareClass
	s.Spec.LoadBalancerClass = &class
}

// startBare starts the least that a controller must do: it watches Services,
// and writes a finalizer and an address to each new one. It ends with ctx; wait
// waits for that.
func startBare(ctx context.Context, services typedcorev1.ServiceInterface, most int) (wait func() error, err error) {
	w, err := watchServices(ctx, services)
	if err != nil {
		return nil, err
	}
	type item struct {
		name   string
		number uint32
	}
	queue := make(chan item, most)
	var group errgroup.Group
	group.Go(func() error {
		defer w.Stop()
		defer close(queue)
		var number uint32
		for e := range w.ResultChan() {
			if svc, ok := e.Object.(*corev1.Service); ok && e.Type == watch.Added {
				queue <- item{svc.Name, number}
				number++
			}
		}
		return nil
	})
	for range concurrency {
		group.Go(func() error {
			var errs []error
			for i := range queue {
				if ctx.Err() == nil {
					errs = append(errs, giveAddress(ctx, services, i.name, i.number))
				}
			}
			return errors.Join(errs...)
		})
	}
	return group.Wait, nil
}

// giveAddress does the two writes that a Service needs. The address is the one
// of that number in a prefix that is nobody's.
func giveAddress(ctx context.Context, services typedcorev1.ServiceInterface, name string, number uint32) error {
	address := fmt.Sprintf("10.98.%d.%d", number>>8&0xff, number&0xff)
	for _, patch := range []string{
		`{"metadata":{"finalizers":["` + bareFinalizer + `"]}}`,
		`{"status":{"loadBalancer":{"ingress":[{"ip":"` + address + `","ipMode":"VIP"}]}}}`,
	} {
		_, err := services.Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
		if err != nil {
			return err
		}
	}
	return nil
}
