package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/herald-lb/herald/test/internal/usage"
)

func resources() Benchmark {
	return Benchmark{
		Name:  "resources",
		About: "memory and CPU of both programs without Services, and with many that have endpoints and are announced",
		Run:   runResources,
	}
}

func runResources(ctx context.Context, e *Env) (result Result, err error) {
	c, err := e.Cluster(ctx, 3)
	if err != nil {
		return Result{}, err
	}
	// What they used before, for other benchmarks, is not what is asked for.
	var all []corev1.Pod
	for _, program := range []string{announcerProgram, controllerProgram} {
		pods, err := c.pods(ctx, program)
		if err != nil {
			return Result{}, err
		}
		all = append(all, pods...)
	}
	if err := c.renew(ctx, all...); err != nil {
		return Result{}, err
	}
	rows, err := e.usageRows(ctx, c, 0)
	if err != nil {
		return Result{}, err
	}
	result.Rows = rows
	remove, err := c.namespace(ctx, "load")
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if err := c.deployWeb(ctx, "load", ""); err != nil {
		return result, err
	}
	if _, err := c.announce(ctx, "load", e.Services); err != nil {
		return result, err
	}
	rows, err = e.usageRows(ctx, c, e.Services)
	result.Rows = append(result.Rows, rows...)
	result.Notes = []string{
		"The runs of these rows are processes: the announcer of each node, the leading controller, and the one that stands by. RSS counts pages of the program's file that are in memory; PSS counts pages that several processes share, such as those of the file, as a part.",
		fmt.Sprintf("CPU is in percent of one core over %v, after as long a time to settle, and includes the probes of the kubelet.", e.Idle),
	}
	return result, err
}

// usageRows lets everything settle and then watches the programs.
func (e *Env) usageRows(ctx context.Context, c *cluster, services int) ([]Row, error) {
	if err := pause(ctx, e.Idle); err != nil {
		return nil, err
	}
	groups, err := c.processes(ctx)
	if err != nil {
		return nil, err
	}
	before := map[int]usage.Usage{}
	for _, g := range groups {
		for _, pid := range g.pids {
			if before[pid], err = usage.Of(pid); err != nil {
				return nil, err
			}
		}
	}
	start := time.Now()
	if err := pause(ctx, e.Idle); err != nil {
		return nil, err
	}
	var rows []Row
	for _, g := range groups {
		name := fmt.Sprintf("%s at %d Services: ", g.name, services)
		rss, pss, cpu := Row{Name: name + "RSS", Unit: "MiB", Goal: g.goal}, Row{Name: name + "PSS", Unit: "MiB"}, Row{Name: name + "CPU", Unit: "%"}
		for _, pid := range g.pids {
			u, err := usage.Of(pid)
			if err != nil {
				return nil, err
			}
			rss.Values, pss.Values = append(rss.Values, u.RSS), append(pss.Values, u.PSS)
			cpu.Values = append(cpu.Values, 100*(u.CPU-before[pid].CPU).Seconds()/time.Since(start).Seconds())
		}
		rows = append(rows, rss, pss, cpu)
	}
	return rows, nil
}

// processGroup is processes that do the same.
type processGroup struct {
	name, goal string
	pids       []int
}

// processes finds all of Herald's processes.
func (c *cluster) processes(ctx context.Context) ([]processGroup, error) {
	announcers, err := c.pods(ctx, announcerProgram)
	if err != nil {
		return nil, err
	}
	controllers, err := c.pods(ctx, controllerProgram)
	if err != nil {
		return nil, err
	}
	holder, err := c.holder(ctx)
	if err != nil {
		return nil, err
	}
	groups := []processGroup{{name: "announcer", goal: "< 40 MiB"}, {name: "leading controller"}, {name: "standby controller"}}
	add := func(g *processGroup, p corev1.Pod, program string) error {
		pid, err := c.pid(p, program)
		g.pids = append(g.pids, pid)
		return err
	}
	for _, p := range announcers {
		err = errors.Join(err, add(&groups[0], p, announcerProgram))
	}
	for _, p := range controllers {
		g := &groups[2]
		if p.Name == holder {
			g = &groups[1]
		}
		err = errors.Join(err, add(g, p, controllerProgram))
	}
	return groups, err
}
