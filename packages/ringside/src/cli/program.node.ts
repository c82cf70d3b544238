/** The commands and their options. */
import { Command as Commander, CommanderError, Option } from 'commander';
import { diskWorkloads } from '../workload/disk-job.ts';
import { demo } from './demo.node.ts';
import { disk, type DiskOptions } from './disk.node.ts';
import { EXIT } from './errors.node.ts';
import { type GrantsOptions, grants, labScenarios, parseTraceTime } from './grants.node.ts';
import { net, type NetOptions } from './net.node.ts';
import {
  type GnttabReplayOptions,
  replayEvtchn,
  replayGnttab,
  type ReplayOptions,
} from './replay.node.ts';
import { type Command, type CommonOptions, complain, Session } from './session.node.ts';
import { parseCount, parseSeconds, parseSeed, parseSize } from './values.node.ts';

/** Of the package. */
export const VERSION = '0.0.0';

const modes = ['flip', 'copy'];

/** Runs the command line (without `node` and the script). Resolves with the exit code. */
export async function runCommandLine(words: readonly string[]): Promise<number> {
  let exitCode: number = EXIT.ok;
  const run = async (name: string, options: CommonOptions, command: Command) => {
    exitCode = await new Session(options).run(name, command);
  };

  const program = new Commander('ringside');
  program
    .description("Xen's split-driver I/O, byte for byte, in one process.")
    .version(VERSION, '--version', 'print the version');
  common(program.command('demo'))
    .summary('two guests, their disks and their network, every byte compared')
    .description(
      'A driver domain and two guests with a disk and a vif each: disk and network workloads, every byte compared.',
    )
    .action((options: CommonOptions) => run('demo', options, demo));
  common(program.command('disk'))
    .summary('requests of a guest to a disk image')
    .description(
      'A workload, in the words of fio, of a guest on a disk that a driver domain serves.',
    )
    .option('--image <file>', 'raw image, any multiple of 512 bytes')
    .option('--read-only', 'open the image for reading only (the default)')
    .option('--writable', 'let the workload change the image')
    .option('--scratch', 'work on a disk that is thrown away: a copy of the image, or a new one')
    .addOption(new Option('--workload <name>').choices(diskWorkloads).default('read'))
    .option('--bs <size>', 'bytes of a request', parseSize, 4096)
    .option('--iodepth <n>', 'requests under way at once', parseCount, 32)
    .option(
      '--size <size>',
      'bytes of the disk to work on (default: all; a new scratch disk: 64M)',
      parseSize,
    )
    .option('--runtime <seconds>', 'begin no request after this time', parseSeconds)
    .option('--out <file>', 'where --workload copy puts what the guest saw')
    .action((options: DiskOptions) => run('disk', options, (session) => disk(session, options)));
  common(program.command('net'))
    .summary('frames of a capture, or a workload, from one guest to another')
    .description(
      'Frames from guest 1 through netfront, netback, a bridge, netback and netfront to guest 2.',
    )
    .option('--pcap <in>', 'send the frames of this capture (pcap or pcapng, plain or gzipped)')
    .option('--out <out>', 'write what guest 2 received (pcapng)')
    .addOption(new Option('--workload <name>').choices(['bulk', 'ping']))
    .option('--size <size>', 'bytes of a frame (default: bulk 1514, ping 98)', parseSize)
    .option('--count <n>', 'frames to send (default: bulk 20000, ping 1000)', parseCount)
    .addOption(new Option('--rx <mode>', 'how guests receive (default: flip)').choices(modes))
    .addOption(new Option('--tx <mode>', 'how guests send (default: flip)').choices(modes))
    .action((options: NetOptions) => run('net', options, (session) => net(session, options)));

  output(program.command('grants'))
    .summary('who granted what to whom, who still maps it, why an end is refused')
    .description(
      'Grant tables step by step in a scenario, or from a trace that another command has written.',
    )
    .addOption(
      new Option('--scenario <name>', 'what to look at (default: sharing)').choices(labScenarios),
    )
    .option(
      '--watch [seconds]',
      'on a terminal: disk and net go on for so long (default: 10), and are shown meanwhile',
      parseSeconds,
    )
    .option('--trace <file.json>', 'read this trace instead, plain or gzipped')
    .option('--at <time>', 'stop there in the trace (default: its end)', parseTraceTime)
    .option('--seed <n>', 'make the run a function of this number: same seed, same run', parseSeed)
    .action((options: GrantsOptions) =>
      run('grants', options, (session) => grants(session, options)),
    );

  const replay = program.command('replay');
  replay
    .summary('recordings of the genuine hypervisor, step by step')
    .description('Does what a recording did, and compares everything that a guest could see.');
  recordings(replay.command('gnttab'))
    .summary('grant table operations')
    .description('Replays recordings of the genuine grant table code through the binary ABI.')
    .addOption(
      new Option('--abi <abi>', 'layout of arguments')
        .choices(['x86_64', 'i386'])
        .default('x86_64'),
    )
    .action((files: string[], options: GnttabReplayOptions) =>
      run('replay gnttab', options, (session) => replayGnttab(session, files, options)),
    );
  recordings(replay.command('evtchn'))
    .summary('event channel operations')
    .description('Replays recordings of the genuine event channel code through the binary ABI.')
    .action((files: string[], options: ReplayOptions) =>
      run('replay evtchn', options, (session) => replayEvtchn(session, files, options)),
    );

  for (const command of [program, ...program.commands, ...replay.commands]) {
    command.exitOverride().configureOutput({ writeErr: () => {} });
  }
  try {
    await program.parseAsync(words, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return EXIT.ok;
    complain(complaintOf(error, words[0] === 'replay' ? replay : program));
    return EXIT.usage;
  }
}

function common(command: Commander): Commander {
  return output(command)
    .option('--seed <n>', 'make the run a function of this number: same seed, same run', parseSeed)
    .option('--trace <file.json>', 'write a trace that Perfetto opens');
}

function recordings(command: Commander): Commander {
  return output(command)
    .argument('<file...>', 'JSON lines, plain or gzipped')
    .option('--differences <n>', 'how many differences to show', parseCount, 5);
}

function output(command: Commander): Commander {
  return command
    .option('--json', 'print the results as one JSON object')
    .option('--verbose', 'log more, and say where errors come from');
}

/** Commander's sentence as one line, with the commands that there are where one is missing. `group` is who has them. */
function complaintOf({ code, message }: CommanderError, group: Commander): string {
  const path = group.parent === null ? group.name() : `${group.parent.name()} ${group.name()}`;
  const commands = `commands: ${group.commands.map((command) => command.name()).join(', ')}`;
  const line = message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ');
  if (code === 'commander.help') return `no command; ${commands}; see ${path} --help`;
  return code === 'commander.unknownCommand' ? `${line}; ${commands}` : line;
}
