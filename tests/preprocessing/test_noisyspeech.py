"""The mixer of MS-SNSD and its dataset of noise types, on a tiny clone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from config.errors import UserError
from config.settings import Settings
from preprocessing.corpora.noisyspeech import (
    NOISE_TYPES,
    RANDSPLIT,
    find_noises,
    plan_mixtures,
    write_noisyspeech,
)
from preprocessing.pipeline.generated_folders import read_manifest
from tests.preprocessing.conftest import RATE, MakeSettings, prepared

SNRS = (20.0, 25.0, 30.0, 35.0, 40.0)


def seconds_of(path: Path) -> float:
    return float(soundfile.info(path).duration)


@pytest.mark.usefixtures("ms_snsd")
class TestPlan:
    def test_noises_are_those_of_the_eleven_types(self, make_settings: MakeSettings) -> None:
        """Bus, CafeTeria, Traffic and Washing are left out; WasherDryer stays."""
        noises = find_noises(make_settings())
        assert [path.name for path, _ in noises] == [
            f"{kind}_{part}.wav" for kind in NOISE_TYPES for part in (1, 2)
        ]
        assert [kind for _, kind in noises] == [kind for kind in NOISE_TYPES for _ in (1, 2)]
        assert len(NOISE_TYPES) == 11

    def test_lasts_as_long_as_asked_for(self, make_settings: MakeSettings) -> None:
        mixtures, _ = plan_mixtures(make_settings(total_hours=0.05))
        seconds = [5 * sum(map(seconds_of, mixture.speech)) for mixture in mixtures]
        assert sum(seconds) >= 180
        assert sum(seconds[:-1]) < 180

    def test_short_speech_is_extended_by_the_files_that_follow(
        self, make_settings: MakeSettings
    ) -> None:
        """Lengths are 1.5, 0.4, 2.0, 0.7, 1.2 and 1.0 s; 1 s is enough."""
        found = {
            tuple(int(path.stem.removeprefix("clean")) for path in mixture.speech)
            for mixture in plan_mixtures(make_settings(total_hours=0.1))[0]
        }
        assert found == {(0,), (1, 2), (2,), (3, 4), (4,), (5,)}

    def test_noise_is_of_one_type_and_long_enough(self, make_settings: MakeSettings) -> None:
        for mixture in plan_mixtures(make_settings(total_hours=0.1))[0]:
            kinds = {path.stem.partition("_")[0] for path in mixture.noise}
            assert kinds == {mixture.noise_type}
            noise = sum(map(seconds_of, mixture.noise))
            speech = sum(map(seconds_of, mixture.speech))
            assert noise >= speech
            assert noise - seconds_of(mixture.noise[-1]) < speech
            assert mixture.num_samples == round(speech * RATE)

    @pytest.mark.parametrize("rate", [8000, 11025])
    def test_other_rates_leave_nothing_out(
        self, make_settings: MakeSettings, ms_snsd: Path, write_wav: Callable[..., Path], rate: int
    ) -> None:
        """6402 samples are 4411.4 at 11025 Hz: three such files make 13233, not 13234.1."""
        for path in ms_snsd.glob("clean_train/*.wav"):
            write_wav(path, 6402 / RATE, seed=1)
        settings = make_settings(sr_target=rate, total_hours=0.01)
        write_noisyspeech(settings)
        folder = settings.preprocessing.generated_noisyspeech_folder
        assert (folder / "left_out.csv").read_text().splitlines() == ["files,reason"]
        assert {soundfile.info(path).samplerate for path in folder.glob("*.wav")} == {rate}


class TestUnusableSources:
    """Speech and noises that are passed over are listed, counted, and limited."""

    POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"

    @pytest.fixture
    def whole(self, ms_snsd: Path) -> dict[Path, bytes]:
        """Cut five of six speech files; two noises become pointers. What they held."""
        speech = sorted(ms_snsd.glob("clean_train/*.wav"))[1:]
        noises = [ms_snsd / "noise_train" / f"{kind}_1.wav" for kind in ("Babble", "Typing")]
        whole = {path: path.read_bytes() for path in (*speech, *noises)}
        for path in speech:
            path.write_bytes(whole[path][: len(whole[path]) // 2])
        for path in noises:
            path.write_text(self.POINTER)
        return whole

    @pytest.mark.parametrize(
        ("repaired", "problem"),
        [
            ("nothing", "5 of 6 speech files cannot be used (5 truncated)"),
            ("clean", "noises cannot be used (2 Git LFS pointer)"),
        ],
    )
    def test_too_many_are_refused(
        self, repaired: str, problem: str, whole: dict[Path, bytes], make_settings: MakeSettings
    ) -> None:
        for path, content in whole.items():
            if path.name.startswith(repaired):
                path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            write_noisyspeech(make_settings(total_hours=0.1))
        assert problem in str(caught.value)
        folder = make_settings().preprocessing.generated_noisyspeech_folder
        assert not list(folder.glob("*.wav"))


@pytest.mark.usefixtures("ms_snsd")
class TestDataset:
    @pytest.fixture
    def settings(self, make_settings: MakeSettings) -> Settings:
        """Enough for every type to appear."""
        return make_settings(total_hours=0.1)

    def test_from_clone_to_matrices(self, settings: Settings) -> None:
        write_noisyspeech(settings)
        folder = settings.preprocessing.generated_noisyspeech_folder
        rows = read_manifest(folder, "")
        matrices = prepared(RANDSPLIT, settings)
        assert matrices.name == "noisyspeech_randsplit_spectrum_fast"
        assert matrices.predictors.shape[1:] == (126, 129)
        assert matrices.classes == list(NOISE_TYPES)
        index = matrices.index
        assert set(index["clip"]) == {row["file"] for row in rows}
        labels = [NOISE_TYPES.index(Path(clip).stem.rpartition("_")[2]) for clip in index["clip"]]
        assert matrices.target.tolist() == labels == index["label"].tolist()
        requested, true_snr = (
            index[column].astype(float) for column in ("requested_snr", "true_snr")
        )
        assert sorted(set(requested)) == list(SNRS)
        np.testing.assert_allclose(true_snr, requested / 2, atol=1e-3)
        assert set(index["noise_type"]) == set(NOISE_TYPES)
        assert set(index["speech"].str.partition(";")[0]) <= {f"clean{n}.wav" for n in range(6)}
