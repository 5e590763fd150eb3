package vip

import (
	"fmt"
	"os"
	"strings"
)

// promoteSecondaries makes the kernel promote a secondary address of the device
// when its primary goes, instead of deleting it. One of conf.all and conf.<if>
// is enough, see IN_DEV_PROMOTE_SECONDARIES in include/linux/inetdevice.h. Needs
// CAP_NET_ADMIN only. It stays set: a VIP may expire when this process is dead.
func promoteSecondaries(device string) error {
	const dir = "/proc/sys/net/ipv4/conf/"
	for _, conf := range []string{"all", device} {
		if b, err := os.ReadFile(dir + conf + "/promote_secondaries"); err == nil && strings.TrimSpace(string(b)) == "1" {
			return nil
		}
	}
	if err := os.WriteFile(dir+device+"/promote_secondaries", []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("set promote_secondaries of %s: %w: without it the host's own address may go along with a VIP; set net.ipv4.conf.%s.promote_secondaries=1 in /etc/sysctl.d, or give the daemon CAP_NET_ADMIN and a writable /proc/sys/net (no ProtectKernelTunables=)", device, err, device)
	}
	return nil
}
