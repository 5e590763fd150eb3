package lab

import (
	"context"
	"fmt"
)

// Impairment is what happens to the frames on the way from one host to another;
// the other direction is not touched. An empty From or To means every host.
type Impairment struct {
	From, To string
	Lose     int // percent of the frames, at random; 100 cuts the way
}

// Impair replaces every cut and loss of the switch, those of Cut and Lose as
// well, in one step. A frame is lost when one of them loses it.
func (l *Lab) Impair(ctx context.Context, all []Impairment) error {
	var rules []rule
	for _, i := range all {
		if i.Lose < 1 || i.Lose > 100 {
			return fmt.Errorf("lose %d %% of the frames from %q to %q: want 1 to 100", i.Lose, i.From, i.To)
		}
		rules = append(rules, rule{i.From, i.To, i.Lose})
	}
	return l.net.change(ctx, func(_ []rule, next ...rule) []rule { return next }, rules...)
}
