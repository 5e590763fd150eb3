package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"leasehold/election"
)

// historyKept is how many tenures etcd keeps.
const historyKept = 100

func (a *app) historyCommand() *cobra.Command {
	var format string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "history [service]",
		Short: "Show who held the VIP when, and why it moved",
		Args:  oneService,
		RunE:  func(c *cobra.Command, args []string) error { return a.history(c.Context(), format, timeout, args) },
	}
	cmd.ValidArgsFunction = a.completeService
	cmd.Flags().StringVarP(&format, "format", "f", "table", "table or json")
	completeFormat(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "how long to wait for etcd")
	return cmd
}

func (a *app) history(ctx context.Context, format string, timeout time.Duration, args []string) error {
	if format != "table" && format != "json" {
		return usagef("history: format %q%s; it is table or json", format, didYouMean(format, []string{"table", "json"}))
	}
	return a.withService(ctx, timeout, args, func(ctx context.Context, cfg *Config, c *election.Cluster, svc *Service) error {
		entries, err := election.History(ctx, c, svc.Name, historyKept)
		if err != nil {
			return etcdTrouble(cfg, "history of "+svc.Name, err)
		}
		if format == "json" {
			enc := json.NewEncoder(a.out)
			enc.SetIndent("", "  ")
			return enc.Encode(entries)
		}
		a.historyTable(svc, entries, time.Now())
		return nil
	})
}

// historyTable draws the tenures, newest first.
func (a *app) historyTable(svc *Service, entries []election.HistoryValue, now time.Time) {
	g := grid{
		title: "History: " + svc.Name,
		head:  []string{"Epoch", "At", "From", "To", "Gap", "Why"},
	}
	for _, e := range entries {
		gap := "-"
		if e.GapMS > 0 {
			gap = short(time.Duration(e.GapMS * float64(time.Millisecond)))
		}
		g.rows = append(g.rows, []string{
			fmt.Sprint(e.Epoch), moment(e.At, now), clean(e.From), clean(e.To), gap, clean(e.Why),
		})
	}
	g.write(a.out, terminalWidth())
}
