#!/usr/bin/env bash
# A SLURM of one machine with two slots, beside whatever else runs here. As root, on Debian and its kin:
#   tests/support/slurm.sh install         slurm-wlm and munge, if they are not there
#   tests/support/slurm.sh start <folder>  everything it writes lies in this new folder; export SLURM_CONF=<folder>/slurm.conf
#   tests/support/slurm.sh stop <folder>   ends the daemons that `start` began, and their jobs
set -euo pipefail

install() {
  command -v slurmctld slurmd munged sbatch > /dev/null && return
  apt-get update -qq
  # The packages would start services of their own; here they shall not.
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qq --no-install-recommends slurm-wlm munge > /dev/null
}

start() {
  mkdir -p "$1"/{munge,state,spool}
  chmod 755 "$1"
  head -c 1024 /dev/urandom > "$1/munge/key"
  chmod 600 "$1/munge/key"
  munged --force --key-file "$1/munge/key" --socket "$1/munge/socket" --pid-file "$1/munge/pid" \
    --seed-file "$1/munge/seed" --log-file "$1/munge/log"
  configuration "$1" > "$1/slurm.conf"
  export SLURM_CONF="$1/slurm.conf"
  slurmctld
  slurmd
  for _ in $(seq 100); do  # until the node has registered
    [ "$(sinfo --noheader --format %T 2> /dev/null)" = idle ] && return
    sleep 0.2
  done
  echo "SLURM did not come up; see $1/slurmctld.log" >&2
  return 1
}

configuration() {
  cat << END
ClusterName=distill
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
# A requeued job waits as long as its credential lives, two minutes by default.
AuthInfo=socket=$1/munge/socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation=$1/state
SlurmdSpoolDir=$1/spool
SlurmctldPidFile=$1/slurmctld.pid
SlurmdPidFile=$1/slurmd.pid
SlurmctldLogFile=$1/slurmctld.log
SlurmdLogFile=$1/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=2
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
NodeName=$(hostname) NodeAddr=127.0.0.1 CPUs=2 RealMemory=100000
PartitionName=test Nodes=ALL Default=YES State=UP
END
}

stop() {
  export SLURM_CONF="$1/slurm.conf"
  scancel --user root
  for _ in $(seq 50); do  # the daemons must see the last job off
    [ -z "$(squeue --noheader)" ] && break
    sleep 0.2
  done
  for pid in "$1"/slurmd.pid "$1"/slurmctld.pid "$1"/munge/pid; do
    kill "$(cat "$pid")"
    while [ -e "$pid" ]; do sleep 0.1; done
  done
}

"$@"
