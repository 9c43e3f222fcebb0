// Command cloud-controller-manager gives LoadBalancer Services addresses out of
// Herald's pools.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/herald-lb/herald/pkg/provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/names"
	"k8s.io/cloud-provider/options"
	"k8s.io/component-base/cli"
	cliflag "k8s.io/component-base/cli/flag"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of client-go
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info
)

func main() { os.Exit(run()) }

func run() int {
	stock, err := options.NewCloudControllerManagerOptions()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ours := provider.DefaultOptions()
	ours.SetDefaults(stock)
	flags := cliflag.NamedFlagSets{}
	ours.AddFlags(flags.FlagSet(provider.Name))

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	herald := provider.New(ours)
	return cli.Run(app.NewCloudControllerManagerCommand(stock, herald.Cloud, herald.Initializers(),
		names.CCMControllerAliases(), flags, herald.HandOver(ctx)))
}
