package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/herald-lb/herald/test/herald"
	"github.com/herald-lb/herald/test/internal/usage"
)

// Herald's programs.
const (
	controllerProgram = "cloud-controller-manager"
	announcerProgram  = herald.Announcer
)

// pods lists the pods that run one of Herald's programs, in the order of their
// names. It is an error if there is none.
func (c *cluster) pods(ctx context.Context, program string) ([]corev1.Pod, error) {
	list, err := c.Client().CoreV1().Pods(herald.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		argv := append(slices.Clone(p.Spec.Containers[0].Command), p.Spec.Containers[0].Args...)
		return p.DeletionTimestamp != nil || len(argv) == 0 || filepath.Base(argv[0]) != program
	})
	if len(out) == 0 {
		return nil, fmt.Errorf("no pod of namespace %s runs %s", herald.Namespace, program)
	}
	return out, nil
}

// announcers lists the announcers by their nodes.
func (c *cluster) announcers(ctx context.Context) (map[string]corev1.Pod, error) {
	pods, err := c.pods(ctx, announcerProgram)
	byNode := map[string]corev1.Pod{}
	for _, p := range pods {
		byNode[p.Spec.NodeName] = p
	}
	return byNode, err
}

// pid finds a pod's process.
func (c *cluster) pid(pod corev1.Pod, program string) (int, error) {
	pids, err := c.Pids(pod.Spec.NodeName, program)
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		// The path has the pod's id, with systemd's driver in another spelling.
		if err == nil && strings.Contains(strings.ReplaceAll(string(groups), "_", "-"), string(pod.UID)) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("pod %s on %s runs no process %s", pod.Name, pod.Spec.NodeName, program)
}

// cpu is the time that an announcer's process has used.
func (c *cluster) cpu(announcer corev1.Pod) (time.Duration, error) {
	pid, err := c.pid(announcer, announcerProgram)
	if err != nil {
		return 0, err
	}
	u, err := usage.Of(pid)
	return u.CPU, err
}

// signal sends a signal to a pod's process.
func (c *cluster) signal(pod corev1.Pod, program string, sig unix.Signal) error {
	pid, err := c.pid(pod, program)
	if err != nil {
		return err
	}
	return unix.Kill(pid, sig)
}

// end tells a pod's process to stop, and waits until it has. The kubelet starts
// it again.
func (c *cluster) end(ctx context.Context, pod corev1.Pod, program string) error {
	pid, err := c.pid(pod, program)
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil {
		return err
	}
	for unix.PidfdSendSignal(fd, 0, nil, 0) == nil {
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// renew deletes pods and waits until there are ready ones in their place. A new
// pod's process starts at once, while one that has ended often waits for longer
// each time.
func (c *cluster) renew(ctx context.Context, pods ...corev1.Pod) error {
	for _, p := range pods {
		if err := c.Client().CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	return c.WaitRollout(ctx)
}

// holder names the pod that leads the controllers.
func (c *cluster) holder(ctx context.Context) (string, error) {
	leases, err := c.Client().CoordinationV1().Leases(herald.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, l := range leases.Items {
		if id := l.Spec.HolderIdentity; strings.Contains(l.Name, controllerProgram) && id != nil && *id != "" {
			name, _, _ := strings.Cut(*id, "_")
			return name, nil
		}
	}
	return "", errors.New("no controller leads")
}

// leader finds the pod that leads the controllers.
func (c *cluster) leader(ctx context.Context) (corev1.Pod, error) {
	name, err := c.holder(ctx)
	if err != nil {
		return corev1.Pod{}, err
	}
	pod, err := c.Client().CoreV1().Pods(herald.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return corev1.Pod{}, err
	}
	return *pod, nil
}
