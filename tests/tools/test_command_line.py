"""Command lines of all tools: answered at once, in one line, and the same options everywhere."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Parser, one_line_errors

import vil_mm
from vil_mm.checkpoints.conversion import TARGETS
from vil_mm.zoo import CONFIG_DIR

ROOT = Path(__file__).resolve().parents[2]
SHARED = ('command_line.py', 'option_values.py', 'start_processes.py')
TOOLS = sorted(x.name for x in (ROOT / 'tools').glob('*.py') if x.name not in SHARED)
CONFIG = CONFIG_DIR / 'upernet_vil_t_drawn.py'
OLD, NEW = 'configs/vil_t_in1k_eval.py', CONFIG_DIR / 'imagenet' / 'vil_t_in1k_eval.py'
ZOO = 'upernet_vil_t_drawn'


@pytest.fixture(scope='module')
def light(tmp_path_factory: pytest.TempPathFactory):
    """Runs a tool where importing torch, numpy or mmengine fails."""
    stubs = tmp_path_factory.mktemp('stubs')
    for name in ('torch', 'numpy', 'mmengine', 'matplotlib'):
        (stubs / f'{name}.py').write_text(f'raise SystemExit("{name} was imported")')
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(stubs), str(ROOT)])}

    def run(tool: str, *args: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=stubs)

    return run


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a tool that has refused its arguments."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize('tool', TOOLS)
def test_help_needs_nothing_heavy(light, tool: str) -> None:
    done = light(tool, '--help')
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f'usage: {tool}') and not done.stderr


@pytest.mark.parametrize('tool', TOOLS)
def test_an_unknown_option_is_one_line(light, tool: str) -> None:
    assert (
        refusal(light(tool, '--hepl'))
        == f'{tool}: there is no option --hepl (did you mean --help?)'
    )


def test_abbreviations_are_refused(light) -> None:
    line = refusal(light('test.py', ZOO, CONFIG, '--show-di', 'x'))
    assert line == 'test.py: there is no option --show-di (did you mean --show-dir?)'
    line = refusal(light('visualize.py', 'errors', ZOO, '--indx', '3', '--out', 'a.png'))
    assert line.endswith('there is no option --indx (did you mean --index?)')


@pytest.mark.parametrize(
    ('tool', 'arguments', 'message'),
    [
        ('image_demo.py', ['no.png', ZOO, CONFIG, '--out', 'x'], 'image not found: no.png'),
        ('image_demo.py', [CONFIG, ZOO, 'no.pth', '--out', 'x'], 'checkpoint not found: no.pth'),
        ('image_demo.py', [CONFIG, ZOO, CONFIG, '--out', 'x', '--opacity', '2'], 'from 0 to 1'),
        ('train.py', ['none.py'], 'config not found: none.py (looked from '),
        ('train.py', ['configs/upernet_vil_t_drwn.py'], 'did you mean upernet_vil_t_drawn'),
        ('test.py', [OLD, CONFIG], f'vil_t_in1k_eval is at {NEW}'),
        ('compare.py', [ZOO, OLD], f'vil_t_in1k_eval is at {NEW}'),
        ('train.py', ['upernet_vil_t_drwn'], 'did you mean upernet_vil_t_drawn'),
        ('train.py', [CONFIG_DIR], 'is a folder: name a config file'),
        ('finetune.py', ['--images', 'no', '--masks', 'no'], '--images: no such folder: no'),
        ('train.py', [ZOO, 'more'], "unexpected argument 'more'"),
        (
            'train.py',
            [ZOO, '--cfg-options', 'a', 'b'],
            "KEY=VALUE without spaces around =, got 'a'",
        ),
        ('train.py', [ZOO, '--cfg-options', 'a', '=', 'b'], 'got '),
        ('train.py', [ZOO, '--cfg-options', 'a=[1'], 'a: [1 lacks a closing ]'),
        ('train.py', [ZOO, '--cfg-options', 'a=dict(b'], 'a: dict(b is not a dict'),
        ('test.py', [ZOO, 'no.pth'], 'checkpoint not found: no.pth'),
        ('test.py', [ZOO], 'required: checkpoint'),
        ('test.py', [ZOO, CONFIG, '--wait-time', '-1'], 'expected seconds'),
        (
            'get_flops.py',
            [ZOO, '--shape', '0'],
            "--shape: expected a whole number, at least 1, got '0'",
        ),
        ('get_flops.py', [ZOO, '--shape', '1', '2', '3'], 'one side, or height and width, got 3'),
        ('train.py', [ZOO, '--work-dir', CONFIG], 'expected a folder, but '),
        ('test.py', [ZOO, CONFIG, '--show-dir', CONFIG], '--show-dir: expected a folder, but '),
        ('test.py', [ZOO, CONFIG, '--out', f'{CONFIG}/a'], '--out: expected a folder, but '),
        ('browse_dataset.py', [ZOO, '-o', CONFIG], 'expected a folder, but '),
        ('compare.py', [ZOO, '--out', CONFIG], '--out: expected a folder, but '),
        ('benchmark.py', [ZOO, 'no.pth'], 'checkpoint not found: no.pth'),
        ('compare.py', [ZOO, 'none.py'], 'config not found: none.py'),
        ('browse_dataset.py', ['none.py', '-o', 'x'], 'config not found: none.py'),
        ('priors.py', ['none.py'], 'config not found: none.py'),
        ('plot_schedule.py', ['none.py'], 'config not found: none.py'),
        ('print_config.py', ['none.py'], 'config not found: none.py'),
        ('report.py', [ZOO, 'no_run'], 'work dir not found: no_run'),
        ('analyze_logs.py', ['no_run'], 'run not found: no_run'),
        ('confusion_matrix.py', [ZOO, 'no.pth'], 'checkpoint or result not found: no.pth'),
        (
            'confusion_matrix.py',
            [ZOO, CONFIG, '--out', 'a.txt'],
            'expected the name of a file *.json',
        ),
        ('convert_checkpoint.py', ['no.pth', 'out.pth'], 'checkpoint not found: no.pth'),
        ('publish_model.py', ['no.pth', 'out.pth'], 'checkpoint not found: no.pth'),
        ('export.py', [ZOO, 'no.pth', '--shape', '64', '--out', 'a.onnx'], 'checkpoint not found'),
        (
            'visualize.py',
            ['features', 'no.png', ZOO, '--out', 'a.png'],
            'image or folder not found',
        ),
        (
            'visualize.py',
            ['features', CONFIG, ZOO, '--out', 'a.jpg'],
            'expected the name of a file *',
        ),
    ],
)
def test_wrong_arguments_need_nothing_heavy(light, tool, arguments, message) -> None:
    line = refusal(light(tool, *arguments))
    assert line.startswith(tool.split()[0]) and message in line


@pytest.mark.parametrize('script', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_scripts_check_arguments_before_processes_start(light, tmp_path, script) -> None:
    before = ['partition', 'job'] if 'slurm' in script else []
    checkpoint = [CONFIG] if 'test' in script else []
    after = ['2'] if 'dist' in script else []
    command = ['bash', ROOT / 'tools' / f'{script}.sh', *before, 'none.py', *checkpoint, *after]
    environment = {**os.environ, 'PYTHON': sys.executable}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert 'config not found: none.py' in refusal(done)
    if 'dist' in script:
        command = ['bash', ROOT / 'tools' / f'{script}.sh', '2', *checkpoint, ZOO]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert f"GPUS must be a number, got '{ZOO}'" in refusal(done)


def test_names_that_tools_repeat_are_those_of_the_package() -> None:
    from vil_mm.datasets.checks.known_sets import KNOWN_SETS
    from vil_mm.export import FORMATS, PARTS
    from vil_mm.measure.flops import CELL_BACKENDS
    from vil_mm.pictures.browse import MODES
    from vil_mm.runs.precision import PRECISIONS

    package = {
        'browse_dataset': {'MODES': MODES},
        'convert_checkpoint': {'TARGETS': TARGETS},
        'export': {'FORMATS': FORMATS, 'PARTS': PARTS},
        'get_flops': {'CELL_BACKENDS': CELL_BACKENDS},
        'prepare_data': {'KNOWN_SETS': tuple(sorted(KNOWN_SETS))},
        'train': {'PRECISIONS': PRECISIONS},
    }
    for tool, names in package.items():
        own = runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'))
        assert {name: own[name] for name in names} == names, tool


def test_overrides_of_several_options_add_up() -> None:
    parser = Parser(prog='x')
    parser.add_cfg_options()
    words = ['--cfg-options', 'a=1', 'b.c=x=y', '--cfg-options', 'a=2', "d=dict(type='A')"]
    assert parser.parse_args(words).cfg_options == {'a': 2, 'b.c': 'x=y', 'd': {'type': 'A'}}


def test_errors_that_are_one_line(monkeypatch, capsys) -> None:
    from vil_mm.checkpoints.reading import CheckpointError
    from vil_mm.engine.optim import TrainingDivergedError

    monkeypatch.setattr(sys, 'argv', ['tools/some.py'])
    for error, code in ((CheckpointError('bad'), 2), (TrainingDivergedError('bad'), 1)):
        with pytest.raises(SystemExit) as stopped, one_line_errors():
            raise error
        assert stopped.value.code == code
        assert capsys.readouterr().err == 'some.py: bad\n'
    with pytest.raises(ValueError, match='of a bug'), one_line_errors(OSError):
        raise ValueError('of a bug')
    with pytest.raises(SystemExit), one_line_errors(OSError):
        raise FileNotFoundError('gone')


def test_a_config_is_printed_by_its_name(run_here, capsys) -> None:
    run_here(
        'print_config.py',
        ZOO,
        '--cfg-options',
        'model.backbone.init_cfg=dict(type=Pretrained,checkpoint=x)',
    )
    printed = capsys.readouterr().out
    assert "init_cfg=dict(checkpoint='x', type='Pretrained')" in printed
    assert f"work_dir = 'work_dirs/{ZOO}'" in printed


def test_models_are_counted_by_their_names(run_here, capsys) -> None:
    run_here('get_flops.py', ZOO, '--shape', '64', '--device', 'cpu')
    assert 'FLOPs' in capsys.readouterr().out
    assert vil_mm.CONFIG_DIR == CONFIG_DIR


def test_a_published_checkpoint(run_here, trained, tmp_path, capsys) -> None:
    import torch

    run_here('publish_model.py', trained.checkpoint, 'small.pth')
    (path,) = tmp_path.glob('small-*.pth')
    assert f'written: {path.name}' in capsys.readouterr().out
    content = torch.load(path, weights_only=True)
    whole = torch.load(trained.checkpoint, weights_only=False)
    assert set(content) == {'state_dict', 'meta'} and 'cfg' not in content['meta']
    assert content['meta']['dataset_meta'] == whole['meta']['dataset_meta']
    assert content['state_dict'].keys() == whole['state_dict'].keys()
    run_here('test.py', trained.config, path, '--work-dir', tmp_path / 'test')
    with pytest.raises(SystemExit) as stopped:
        run_here('publish_model.py', trained.checkpoint, 'small.pth')
    assert stopped.value.code == 2 and 'is already published' in capsys.readouterr().err


def test_windows_and_opacity(run_here, trained, tmp_path, capsys) -> None:
    import cv2
    import numpy as np

    cv2.imwrite(str(tmp_path / 'a.png'), np.full((64, 64, 3), 200, np.uint8))
    words = ['a.png', trained.config, trained.checkpoint, '--out-file']
    run_here('image_demo.py', *words, 'faint.png', '--opacity', '0')
    run_here('image_demo.py', *words, 'full.png', '--opacity', '1')
    faint, full = cv2.imread('faint.png'), cv2.imread('full.png')
    assert (faint == 200).all(-1).mean() > 0.4 > (full == 200).all(-1).mean()


def test_show_without_a_display(run_here, trained, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_here('test.py', trained.config, trained.checkpoint, '--show')
    assert stopped.value.code == 2 and '--show: no display' in capsys.readouterr().err


def test_the_backbone_of_a_segmentor_in_the_authors_names(
    run_here, trained, capsys, tmp_path
) -> None:
    import torch

    with pytest.raises(SystemExit) as stopped:
        run_here('convert_checkpoint.py', trained.checkpoint, 'official.th', '--to', 'official')
    error = capsys.readouterr().err
    assert (
        stopped.value.code == 2 and 'its ViL has no final norm' in error and 'decode_head' in error
    )

    whole = torch.load(trained.checkpoint, weights_only=False)['state_dict']
    whole |= {'backbone.norm.weight': torch.ones(16), 'backbone.norm.bias': torch.zeros(16)}
    torch.save({'state_dict': whole}, tmp_path / 'normed.pth')
    run_here('convert_checkpoint.py', 'normed.pth', 'official.th', '--to', 'official')
    printed = capsys.readouterr().out
    assert 'left out: ' in printed and 'decode_head (' in printed
    run_here('convert_checkpoint.py', 'official.th', 'ours.pth', '--to', 'backbone')
    ours = torch.load('ours.pth', weights_only=True)['state_dict']
    assert {f'backbone.{key}' for key in ours} == {key for key in whole if 'backbone.' in key}
    assert all(torch.equal(ours[key], whole[f'backbone.{key}']) for key in ours)


@pytest.mark.parametrize('status', [0, 1, 75])
def test_slurm_job_returns_to_the_queue_after_a_signal(light, tmp_path, status) -> None:
    """With stand-ins for Slurm's programs, which write down their arguments."""
    slurm = '#!/bin/sh\necho "$(basename "$0") $*" >> "$CALLS"\n'
    bodies = {
        'srun': f'exit {status}\n',
        'sbatch': 'for last; do :; done\nexport SLURM_JOB_ID=7 SLURM_RESTART_COUNT=$RESTARTS\n'
        'exec bash -c "${last#--wrap=}"\n',
        'scontrol': '',
    }
    for name, body in bodies.items():
        (tmp_path / name).write_text(slurm + body)
        (tmp_path / name).chmod(0o755)
    calls = tmp_path / 'calls'
    environment = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'CALLS': str(calls)}
    environment |= {'PYTHON': sys.executable, 'BATCH': '1', 'RESTARTS': str(int(status == 75))}
    script = ROOT / 'tools' / 'slurm_train.sh'
    command = ['bash', script, 'gpus', 'my job', CONFIG, '--work-dir', 'a b']
    done = subprocess.run(list(map(str, command)), env=environment, cwd=tmp_path)
    submitted, run, *requeued = calls.read_text().splitlines()
    assert done.returncode == status
    assert submitted.startswith('sbatch --requeue') and '--signal=USR1@120' in submitted
    resumed = ' --resume' if status == 75 else ''
    assert run.startswith('srun') and run.endswith(f'--launcher slurm --work-dir a b{resumed}')
    assert requeued == (['scontrol requeue 7'] if status == 75 else [])
