package provider

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// quietClient is the client of the stock service controller. That controller
// sends two Events for each Service it looks at, out of the same budget of
// requests as the writes that matter. Here its Warnings go through a client of
// their own, and its progress reports (Ensuring, Ensured, Deleting, …) nowhere:
// they say nothing that the Service does not show, and "Ensured" is wrong for
// a Service that just lost its address.
type quietClient struct {
	kubernetes.Interface
	events corev1.EventsGetter
	writes *writes
}

// CoreV1 returns the core client with quiet Events and noted writes.
func (c quietClient) CoreV1() corev1.CoreV1Interface {
	return quietCore{c.Interface.CoreV1(), c.events, c.writes}
}

type quietCore struct {
	corev1.CoreV1Interface
	events corev1.EventsGetter
	writes *writes
}

// Services returns the Services of a namespace with noted writes.
func (c quietCore) Services(namespace string) corev1.ServiceInterface {
	return notedServices{c.CoreV1Interface.Services(namespace), c.writes}
}

// Events returns the quiet Events of a namespace.
func (c quietCore) Events(namespace string) corev1.EventInterface {
	return quietEvents{c.events.Events(namespace)}
}

type quietEvents struct{ corev1.EventInterface }

// CreateWithEventNamespace drops what is no Warning.
func (e quietEvents) CreateWithEventNamespace(event *v1.Event) (*v1.Event, error) {
	return e.CreateWithEventNamespaceWithContext(context.Background(), event)
}

// CreateWithEventNamespaceWithContext drops what is no Warning.
func (e quietEvents) CreateWithEventNamespaceWithContext(ctx context.Context, event *v1.Event) (*v1.Event, error) {
	if event.Type != v1.EventTypeWarning {
		return event, nil
	}
	return e.EventInterface.CreateWithEventNamespaceWithContext(ctx, event)
}

// PatchWithEventNamespace drops what is no Warning.
func (e quietEvents) PatchWithEventNamespace(event *v1.Event, data []byte) (*v1.Event, error) {
	return e.PatchWithEventNamespaceWithContext(context.Background(), event, data)
}

// PatchWithEventNamespaceWithContext drops what is no Warning.
func (e quietEvents) PatchWithEventNamespaceWithContext(ctx context.Context, event *v1.Event, data []byte) (*v1.Event, error) {
	if event.Type != v1.EventTypeWarning {
		return event, nil
	}
	return e.EventInterface.PatchWithEventNamespaceWithContext(ctx, event, data)
}
