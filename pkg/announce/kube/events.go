package kube

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

const (
	component = "herald-announcer"
	// eventQueue bounds what waits; what does not fit is dropped.
	eventQueue = 1024
	// eventRate and eventBurst keep a failover of thousands of addresses from
	// becoming a flood of Events.
	eventRate  rate.Limit = 10
	eventBurst int        = 100
	// repeatAfter is for how long the same news of a Service is not told again.
	repeatAfter   = 10 * time.Minute
	maxRemembered = 4096
	eventTimeout  = 5 * time.Second
	eventTries    = 3
)

// Notice is news about one Service, or one Node.
type Notice struct {
	Service string // namespace/name
	UID     string // of the Service
	Node    string // set if it is about a Node
	Warning bool
	Reason  string // in CamelCase, for machines
	Message string
}

// Recorder writes Notices as Events on the Services and Nodes. It is slow on purpose and
// drops what is too much.
type Recorder struct {
	log    *slog.Logger
	client rest.Interface
	node   string
	queue  chan Notice
}

// Recorder returns a Recorder for a node's announcer.
func (c *Clients) Recorder(log *slog.Logger, node string) *Recorder {
	return &Recorder{log: log, client: c.core, node: node, queue: make(chan Notice, eventQueue)}
}

// Record has a Notice written by and by. It does not block.
func (r *Recorder) Record(n Notice) {
	select {
	case r.queue <- n:
	default:
		r.log.Debug("too many events: one was dropped", "service", n.Service, "node", n.Node, "reason", n.Reason)
	}
}

// Run writes until ctx ends and then returns nil.
func (r *Recorder) Run(ctx context.Context) error {
	limiter := rate.NewLimiter(eventRate, eventBurst)
	told := map[Notice]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-r.queue:
			if n.Node == "" && time.Since(told[n]) < repeatAfter {
				continue
			}
			if limiter.Wait(ctx) != nil {
				return nil
			}
			if len(told) >= maxRemembered {
				clear(told)
			}
			told[n] = time.Now()
			r.write(ctx, n)
		}
	}
}

// write creates the Event. One that can not be written for some seconds is
// given up: there is no news in it by then.
func (r *Recorder) write(ctx context.Context, n Notice) {
	event := newEvent(n, r.node, time.Now())
	var err error
	for try := range eventTries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Duration(try) * time.Second):
			}
		}
		err = r.client.Post().Namespace(event.Namespace).Resource("events").Timeout(eventTimeout).Body(event).Do(ctx).Error()
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
			break
		}
	}
	if err != nil && ctx.Err() == nil {
		r.log.Warn("an event could not be written", "service", n.Service, "node", n.Node, "reason", n.Reason, "err", err)
	}
}

func newEvent(n Notice, node string, now time.Time) *corev1.Event {
	object := objectOf(n)
	namespace := object.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault // where Events on what has no namespace are
	}
	kind := corev1.EventTypeNormal
	if n.Warning {
		kind = corev1.EventTypeWarning
	}
	at := metav1.NewTime(now)
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%.200s.%x", object.Name, now.UnixNano())},
		InvolvedObject: object,
		Reason:         n.Reason, Message: n.Message, Type: kind,
		Source:              corev1.EventSource{Component: component, Host: node},
		ReportingController: component, ReportingInstance: node,
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
}

// objectOf is what a Notice is about. Of a Node, the UID in Events is its name,
// as the kubelet has it and "kubectl describe" looks for.
func objectOf(n Notice) corev1.ObjectReference {
	if n.Node != "" {
		return corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: n.Node, UID: types.UID(n.Node)}
	}
	namespace, name, _ := strings.Cut(n.Service, "/")
	return corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: namespace, Name: name, UID: types.UID(n.UID)}
}
