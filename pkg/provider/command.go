package provider

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/names"
	"k8s.io/cloud-provider/options"
	cliflag "k8s.io/component-base/cli/flag"
)

// NewCommand returns the command line of the cloud controller manager: the
// stock one with our defaults and our flags. When ctx ends, the command hands
// over leadership and returns.
func NewCommand(ctx context.Context) (*cobra.Command, error) {
	stock, err := options.NewCloudControllerManagerOptions()
	if err != nil {
		return nil, fmt.Errorf("defaults of the cloud controller manager: %w", err)
	}
	ours := defaultOptions()
	ours.setDefaults(stock)
	flags := cliflag.NamedFlagSets{}
	ours.addFlags(flags.FlagSet(Name))
	m := newManager(ours)
	return app.NewCloudControllerManagerCommand(stock, m.cloud, m.initializers(), names.CCMControllerAliases(), flags, m.handOverAfter(ctx)), nil
}
