package keepalived

// Why things are left out, and what to do instead; each is said of many keywords.
const (
	noMail    = "Leasehold sends no mail; let your monitoring look at the exit code of: leasehold status"
	noScripts = "Leasehold starts no program when the holder changes; let what has to know watch the key /leasehold/SERVICE/holder in etcd (etcdctl watch), or poll: leasehold status -f json"
	noLVS     = "Leasehold balances no load; leave this to a keepalived whose configuration has no vrrp_instance for these addresses any more"
	noRoutes  = "Leasehold moves addresses, not routes and rules; a route that may be there all the time belongs into the host's network configuration"
	noStatic  = "it is there whoever is master, and belongs into the host's network configuration (systemd-networkd, /etc/network/interfaces)"
	noTrack   = "Leasehold has no such check; write an exec check that looks at the same thing"
	noSNMP    = "Leasehold speaks neither SNMP nor D-Bus; use leasehold status -f json, or the status socket"
	noStart   = "Leasehold starts no program of its own at start and stop; put it into a drop-in of the unit, with ExecStartPre= and ExecStopPost="
	noGarp    = "Leasehold spaces its announcements by announce.burst, the same on every interface"
)

// Why nothing is lost; each is said of many keywords.
const (
	ownProcess = "it is about keepalived's own processes and files; Leasehold's unit and configuration say the same of Leasehold"
	ownRules   = "it is about firewall rules for use_vmac and no_accept, which Leasehold does not need"
	byElection = "the holder is elected in etcd, and no adverts are sent"
	announced  = "an address is announced at 0s, 50ms, 200ms and 1s after a take-over, and every 30s from then on; announce.burst and announce.refresh change that"
)

func left(why string) (Outcome, bool)     { return Outcome{Left: why}, true }
func needless(why string) (Outcome, bool) { return Outcome{Became: notNeeded + "" + why}, true }

// ofRoot returns what becomes of a block, or line, at the top of a configuration
// that is none of those that are decoded.
func ofRoot(keyword string) (Outcome, bool) {
	switch keyword {
	case "virtual_server", "virtual_server_group", "SSL", "net_namespace_ipvs":
		return left(noLVS)
	case "static_ipaddress", "static_routes", "static_rules", "track_group":
		return left(noStatic)
	case "vrrp_track_file", "track_file", "track_bfd", "bfd_instance":
		return left(noTrack)
	case "interface_up_down_delays":
		return left("Leasehold takes a link as it is, at once; a delay belongs into the bond (updelay, downdelay) or the switch")
	case "garp_group":
		return left(noGarp)
	case "net_namespace":
		return left("Leasehold runs where systemd starts it; put NetworkNamespacePath= into a drop-in of the unit")
	case "linkbeat_interfaces", "linkbeat_use_polling":
		return needless("the kernel's carrier counts, which every driver in use reports")
	case "instance", "use_pid_dir", "child_wait_time", "namespace_with_ipsets":
		return needless(ownProcess)
	}
	return Outcome{}, false
}

// ofGlobal returns what becomes of a line of global_defs that is not decoded.
func ofGlobal(s *statement) (Outcome, bool) {
	switch s.keyword() {
	case "router_id":
		return needless("keepalived puts it into its mails and SNMP; a node is called by its host name, or by node:")
	case "notification_email", "notification_email_from", "smtp_server", "smtp_helo_name", "smtp_connect_timeout",
		"smtp_alert", "smtp_alert_vrrp", "smtp_alert_checker", "no_email_faults", "no_checker_emails":
		return ofMail(s)
	case "startup_script", "startup_script_timeout", "shutdown_script", "shutdown_script_timeout":
		return left(noStart)
	case "notify_fifo", "notify_fifo_script", "vrrp_notify_fifo", "vrrp_notify_fifo_script", "vrrp_notify_priority_changes",
		"fifo_write_vrrp_states_on_reload":
		return left(noScripts)
	case "snmp_socket", "enable_traps", "enable_snmp_vrrp", "enable_snmp_keepalived", "enable_snmp_rfc", "enable_snmp_rfcv2",
		"enable_snmp_rfcv3", "enable_snmp_checker", "enable_dbus", "dbus_service_name":
		return left(noSNMP)
	case "lvs_timeouts", "lvs_flush", "lvs_flush_on_stop", "lvs_flush_onstop", "lvs_sync_daemon", "lvs_notify_fifo",
		"lvs_notify_fifo_script", "checker_log_all_failures", "rs_init_notifies", "nftables_ipvs", "nftables_ipvs_priority",
		"nftables_ipvs_start_fwmark":
		return left(noLVS)
	case "vrrp_iptables", "vrrp_ipsets", "nftables", "nftables_priority", "nftables_ifindex", "nftables_counters":
		return needless(ownRules)
	case "vrrp_garp_interval", "vrrp_gna_interval":
		return needless(announced)
	case "vrrp_garp_extra_if", "vrrp_vmac_garp_intvl":
		return left(noGarp)
	case "vrrp_garp_lower_prio_delay", "vrrp_garp_lower_prio_repeat", "vrrp_check_unicast_src", "vrrp_skip_check_adv_addr",
		"log_unknown_vrids", "disable_local_igmp", "vmac_prefix", "vmac_addr_prefix":
		return needless("it is about adverts that are received; " + byElection)
	case "dynamic_interfaces":
		return needless("an interface that is not there yet is always waited for")
	case "default_interface":
		return needless("keepalived takes it for static addresses only")
	}
	return ofOwnProcess(s.keyword())
}

func ofOwnProcess(keyword string) (Outcome, bool) {
	switch keyword {
	case "process_names", "process_name", "vrrp_process_name", "checker_process_name", "lvs_process_name", "bfd_process_name",
		"max_auto_priority", "min_auto_priority_delay", "vrrp_priority", "vrrp_no_swap", "vrrp_rt_priority", "vrrp_cpu_affinity",
		"vrrp_rlimit_rttime", "vrrp_rlimit_rtime", "checker_priority", "checker_no_swap", "checker_rt_priority",
		"checker_cpu_affinity", "checker_rlimit_rttime", "checker_rlimit_rtime", "bfd_priority", "bfd_no_swap",
		"bfd_rt_priority", "bfd_cpu_affinity", "bfd_rlimit_rttime", "bfd_rlimit_rtime",
		"vrrp_netlink_cmd_rcv_bufs", "vrrp_netlink_cmd_rcv_bufs_force", "vrrp_netlink_monitor_rcv_bufs",
		"vrrp_netlink_monitor_rcv_bufs_force", "process_monitor_rcv_bufs", "process_monitor_rcv_bufs_force",
		"lvs_netlink_cmd_rcv_bufs", "lvs_netlink_cmd_rcv_bufs_force", "lvs_netlink_monitor_rcv_bufs",
		"lvs_netlink_monitor_rcv_bufs_force", "vrrp_rx_bufs_policy", "vrrp_rx_bufs_multiplier", "umask", "random_seed",
		"reload_check_config", "reload_time_file", "reload_repeat", "reload_file", "include_check", "config_save_dir",
		"tmp_config_directory", "data_use_instance":
		return needless(ownProcess)
	}
	return Outcome{}, false
}

// ofMail knows that an alert that is switched off is none.
func ofMail(s *statement) (Outcome, bool) {
	switch s.arg() {
	case "false", "off", "no":
		return needless("no mail is sent")
	}
	return left(noMail)
}

// ofInstance returns what becomes of a line of vrrp_instance, or vrrp_sync_group,
// that is not decoded.
func ofInstance(s *statement) (Outcome, bool) {
	switch s.keyword() {
	case "notify", "notify_master", "notify_backup", "notify_fault", "notify_stop", "notify_deleted",
		"notify_master_rx_lower_pri", "notify_priority_changes":
		return left(noScripts)
	case "smtp_alert":
		return ofMail(s)
	case "virtual_routes", "virtual_rules":
		return left(noRoutes)
	case "track_file", "track_bfd":
		return left(noTrack)
	case "lvs_sync_daemon_interface":
		return left(noLVS)
	case "use_ipvlan", "use_vmac_addr", "vmac_xmit_base":
		return left("Leasehold puts an address onto the interface itself, with its own MAC address; clients follow by gratuitous ARP")
	case "vrf":
		return left("Leasehold knows devices, not VRFs; an address goes to the device that is named with it, which may be in a VRF")
	case "no_accept":
		return left("keepalived drops packets to the address itself, and Leasehold lets them in: clients could not use it otherwise; filter in the host's firewall if that is what it is for")
	case "dont_track_primary":
		return left("a node whose link is down does not hold an address on that interface; there is no way to say otherwise")
	case "garp_extra_if", "vmac_garp_intvl":
		return left(noGarp)
	case "global_tracking", "sync_group_tracking_weight":
		return needless("the addresses of a group are one service here, with one set of checks")
	case "promote_secondaries":
		return needless("Leasehold sets it by itself where an address needs it")
	case "debug", "kernel_rx_buf_size":
		return needless(ownProcess)
	case "linkbeat_use_polling":
		return needless("the kernel's carrier counts, which every driver in use reports")
	}
	return Outcome{}, false
}
